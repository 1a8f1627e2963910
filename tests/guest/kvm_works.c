/* SPDX-License-Identifier: Apache-2.0 */
/* Ends with 0 when the KVM engine can run guests here, of the host's architecture; else says why not. */
#include <stdio.h>

#include "engine/kvm/probe.h"

int main(void)
{
	struct fault reason = FAULT_INIT;
	int r = kvm_probe(HOST_ARCH, &reason);

	if (r < 0)
		printf("KVM cannot be used: %s\n", fault_text(&reason));
	fault_done(&reason);
	return r < 0;
}
