/* Scoped cleanup (GCC and Clang): the destructor runs when the variable goes out of scope. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(f) __attribute__((cleanup(f)))

static inline void cleanup_free_(void *p) { free(*(void **)p); }
static inline void cleanup_close_(int *fd) { if (*fd >= 0) close(*fd); }
static inline void cleanup_unlock_(pthread_mutex_t **m) { if (*m) pthread_mutex_unlock(*m); }

#define autofree cleanup(cleanup_free_)
#define autoclose cleanup(cleanup_close_)

/* Holds `mutex` until the end of the scope. */
#define SCOPED_LOCK(mutex) \
	pthread_mutex_t *scoped_lock_ cleanup(cleanup_unlock_) = (pthread_mutex_lock(mutex), (mutex)); \
	(void)scoped_lock_

static inline void cleanup_rwunlock_(pthread_rwlock_t **l) { if (*l) pthread_rwlock_unlock(*l); }
/* Holds `lock` until the end of the scope. */
#define SCOPED_READ_LOCK(lock) \
	pthread_rwlock_t *scoped_rwlock_ cleanup(cleanup_rwunlock_) = (pthread_rwlock_rdlock(lock), (lock)); \
	(void)scoped_rwlock_
#define SCOPED_WRITE_LOCK(lock) \
	pthread_rwlock_t *scoped_rwlock_ cleanup(cleanup_rwunlock_) = (pthread_rwlock_wrlock(lock), (lock)); \
	(void)scoped_rwlock_

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
