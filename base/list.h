/* An intrusive doubly linked list with a head, as small as it gets. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list { struct list *next, *prev; };

static inline void list_init(struct list *head) { head->next = head->prev = head; }
static inline bool list_empty(const struct list *head) { return head->next == head; }
/* True for an entry that list_init or list_remove left in no list. */
static inline bool list_alone(const struct list *entry) { return entry->next == entry; }

static inline void list_insert_before(struct list *entry, struct list *where)
{
	entry->prev = where->prev;
	entry->next = where;
	where->prev->next = entry;
	where->prev = entry;
}
static inline void list_append(struct list *head, struct list *entry) { list_insert_before(entry, head); }

static inline void list_remove(struct list *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
	list_init(entry);
}

/* Moves all entries of `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	from->prev->next = to;
	to->prev->next = from->next;
	to->prev = from->prev;
	list_init(from);
}

#endif
