/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubly linked rings. A list is a node that is in no object; the others are embedded in what is
 * listed, which is found by container_of. A node that is in no list is a ring of its own.
 */
#ifndef SQUIB_BASE_LIST_H
#define SQUIB_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next;
	struct list *prev;
};

/** list_init() - an empty list, or a node that is in none */
static inline void list_init(struct list *list)
{
	list->next = list->prev = list;
}

/** list_is_empty() - of a list; of a node: is it in none? */
static inline bool list_is_empty(const struct list *list)
{
	return list->next == list;
}

/** list_append() - make @node, which is in no list, the last one */
static inline void list_append(struct list *list, struct list *node)
{
	node->prev = list->prev;
	node->next = list;
	list->prev->next = node;
	list->prev = node;
}

/** list_remove() - out of its list, if it is in one */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/** list_first() - NULL when the list is empty */
static inline struct list *list_first(const struct list *list)
{
	return list_is_empty(list) ? NULL : list->next;
}

#endif
