/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/test_mmds_stack.h"

#include <stdlib.h>
#include <string.h>

int mmds_stack_new(struct mmds *mmds, struct mmds_stack **ret_stack)
{
	(void)mmds;
	*ret_stack = calloc(1, sizeof(**ret_stack));
	return 0;
}

void mmds_stack_free(struct mmds_stack *stack)
{
	free(stack);
}

void mmds_stack_reset(struct mmds_stack *stack)
{
	stack->resets++;
	stack->to_send = 0;
}

bool mmds_stack_wants(const struct mmds_stack *stack, const uint8_t *frame, size_t len)
{
	(void)stack;
	return len > 0 && frame[0] == MMDS_TEST_TARGET;
}

void mmds_stack_receive(struct mmds_stack *stack, const uint8_t *frame, size_t len, uint64_t now_ns)
{
	(void)frame;
	(void)now_ns;
	stack->received++;
	stack->received_bytes = len;
}

size_t mmds_stack_send(struct mmds_stack *stack, uint8_t *frame, uint64_t now_ns)
{
	if (stack->sent == stack->to_send || stack->due_ns > now_ns)
		return 0;
	stack->sent++;
	memset(frame, (int)stack->sent, stack->send_bytes);
	return stack->send_bytes;
}

uint64_t mmds_stack_due_ns(const struct mmds_stack *stack)
{
	return stack->sent == stack->to_send ? UINT64_MAX : stack->due_ns;
}
