/* Runs inside the guest: wraps the functions of POSIX threads and semaphores (and Qt's mutex), and tells the
   tool what they do, in the codes of helgrind.h.

   A client request would leave translated code for the engine's scheduler and come back, several times for
   each lock. So the tool is told of an operation by a call of `marker`: it adds a call of its own to the
   translation of that function, whose address it gets by one client request.

   Built as a shared object that the guest preloads. It needs no library, and what it uses of the guest's C
   library may be missing. SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include "valgrind.h"
#include "helgrind.h"
#include "requests.h"

#define WEAK __attribute__((weak))
extern int* __errno_location(void) WEAK;
extern int pthread_mutexattr_gettype(const pthread_mutexattr_t*, int*) WEAK;
extern int omp_get_level(void) WEAK;

typedef void Marker(long code, const void* object, long object2, long value);

/* Called through a pointer, so that it is a superblock of its own and finds all registers in place. */
static __attribute__((noinline, noclone)) void marker(long code, const void* object, long object2, long value)
{
   __asm__ volatile("" : : "r"(code), "r"(object), "r"(object2), "r"(value) : "memory");
}

static Marker announce;
static Marker* volatile event = announce;

static __attribute__((noinline, noclone)) void tell_of_marker(void)
{
   VALGRIND_DO_CLIENT_REQUEST_STMT(REQUEST_SYNC_MARKER, marker, 0, 0, 0, 0);
   event = marker;
}

/* Goes on to the marker by a jump, so that it stands in no call stack. */
static void announce(long code, const void* object, long object2, long value)
{
   tell_of_marker();
   event(code, object, object2, value);
}

#define EVENT(code, object, object2, value) event(_VG_USERREQ__HG_##code, object, (long)(object2), (long)(value))

static void check(const char* function, int error)
{
   if (error) EVENT(PTH_API_ERROR, function, error, 0);
}

static int last_error(void) { return __errno_location ? *__errno_location() : 0; }

/* All zero is how static initialisers leave an object. */
static long is_zero(const void* object, unsigned long size)
{
   const char* p = object;
   if (p == NULL) return 0;
   for (unsigned long i = 0; i < size; i++)
      if (p[i]) return 0;
   return 1;
}

/* As a static initialiser leaves a mutex: all zero but for its type. */
static long is_unused_mutex(const pthread_mutex_t* mutex)
{
   const unsigned long type = offsetof(pthread_mutex_t, __data.__kind), after = type + sizeof(int);
   return is_zero(mutex, type) && (unsigned)mutex->__data.__kind <= PTHREAD_MUTEX_ADAPTIVE_NP
          && is_zero((const char*)mutex + after, sizeof *mutex - after);
}

/* A robust mutex whose owner has died is taken, though the function returns an error. */
static long is_taken(int error) { return error == 0 || error == EOWNERDEAD; }

/* Defines a wrapper of a function of the C library, which before glibc 2.34 lives in libpthread. The name
   is Z-encoded: Zu is _, ZA is @, Za is any text. */
#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define IN_LIBC(name) I_WRAP_SONAME_FNNAME_ZZ(libcZdsoZa, name)
#define IN_LIBPTHREAD(name) I_WRAP_SONAME_FNNAME_ZZ(libpthreadZdsoZd0, name)
#define WRAP(result, name, ...)                                                                  \
   result IN_LIBC(name)(__VA_ARGS__);                                                            \
   result IN_LIBPTHREAD(name)(__VA_ARGS__) __attribute__((alias(STRING(IN_LIBC(name)))));        \
   result IN_LIBC(name)(__VA_ARGS__)

/* The same wrapper under another name. No name may stand for more than it must: compilers give parts of a
   function names that begin like its own. */
#define WRAP_ALSO(result, name, other, ...)                                                      \
   result IN_LIBC(other)(__VA_ARGS__) __attribute__((alias(STRING(IN_LIBC(name)))));             \
   result IN_LIBPTHREAD(other)(__VA_ARGS__) __attribute__((alias(STRING(IN_LIBC(name)))));

/* ---------------------------------------------------------------- threads */

WRAP(int, pthreadZucreateZAZa, void* thread, void* attributes, void* start, void* argument)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_CREATE_BEGIN, NULL, 0, 0);
   CALL_FN_W_WWWW(error, original, thread, attributes, start, argument);
   EVENT(PTHREAD_CREATE_END, NULL, 0, 0);
   check("pthread_create", error);
   return error;
}

WRAP(int, pthreadZujoin, void* thread, void** result)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_WW(error, original, thread, result);
   if (error == 0) EVENT(PTHREAD_JOIN_POST, thread, 0, 0);
   check("pthread_join", error);
   return error;
}

WRAP(int, pthreadZudetach, void* thread)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_W(error, original, thread);
   check("pthread_detach", error);
   return error;
}

/* ---------------------------------------------------------------- mutexes */

WRAP(int, pthreadZumutexZuinit, void* mutex, void* attributes)
{
   OrigFn original;
   int error, type = PTHREAD_MUTEX_DEFAULT;
   VALGRIND_GET_ORIG_FN(original);
   if (attributes && pthread_mutexattr_gettype) pthread_mutexattr_gettype(attributes, &type);
   CALL_FN_W_WW(error, original, mutex, attributes);
   if (error == 0) EVENT(PTHREAD_MUTEX_INIT_POST, mutex, type == PTHREAD_MUTEX_RECURSIVE, 0);
   check("pthread_mutex_init", error);
   return error;
}

WRAP(int, pthreadZumutexZudestroy, void* mutex)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_DESTROY_PRE, mutex, is_unused_mutex(mutex), 0);
   CALL_FN_W_W(error, original, mutex);
   check("pthread_mutex_destroy", error);
   return error;
}

WRAP(int, pthreadZumutexZulock, void* mutex)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 0, 0);
   CALL_FN_W_W(error, original, mutex);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, is_taken(error), 0);
   check("pthread_mutex_lock", error);
   return error;
}

WRAP(int, pthreadZumutexZutrylock, void* mutex)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 1, 0);
   CALL_FN_W_W(error, original, mutex);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, is_taken(error), 0);
   if (error != EBUSY) check("pthread_mutex_trylock", error);
   return error;
}

WRAP(int, pthreadZumutexZutimedlock, void* mutex, void* time)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 1, 0);
   CALL_FN_W_WW(error, original, mutex, time);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, is_taken(error), 0);
   if (error != ETIMEDOUT) check("pthread_mutex_timedlock", error);
   return error;
}

WRAP(int, pthreadZumutexZuclocklock, void* mutex, int clock, void* time)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 1, 0);
   CALL_FN_W_WWW(error, original, mutex, clock, time);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, is_taken(error), 0);
   if (error != ETIMEDOUT) check("pthread_mutex_clocklock", error);
   return error;
}

WRAP(int, pthreadZumutexZuunlock, void* mutex)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_UNLOCK_PRE, mutex, 0, 0);
   CALL_FN_W_W(error, original, mutex);
   EVENT(PTHREAD_MUTEX_UNLOCK_POST, mutex, 0, 0);
   check("pthread_mutex_unlock", error);
   return error;
}

/* ---------------------------------------------------------------- condition variables */

/* It is not as a static initialiser leaves it. */
static long is_set(const void* condition) { return condition && !is_zero(condition, sizeof(pthread_cond_t)); }

WRAP(int, pthreadZucondZuinitZAZa, void* condition, void* attributes)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_WW(error, original, condition, attributes);
   if (error == 0) EVENT(PTHREAD_COND_INIT_POST, condition, attributes, 0);
   check("pthread_cond_init", error);
   return error;
}

WRAP(int, pthreadZucondZudestroyZAZa, void* condition)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_COND_DESTROY_PRE, condition, is_zero(condition, sizeof(pthread_cond_t)), 0);
   CALL_FN_W_W(error, original, condition);
   check("pthread_cond_destroy", error);
   return error;
}

WRAP(int, pthreadZucondZuwaitZAZa, void* condition, void* mutex)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_COND_WAIT_PRE, condition, mutex, is_set(condition));
   CALL_FN_W_WW(error, original, condition, mutex);
   EVENT(PTHREAD_COND_WAIT_POST, condition, mutex, 0);
   check("pthread_cond_wait", error);
   return error;
}

WRAP(int, pthreadZucondZutimedwaitZAZa, void* condition, void* mutex, void* time)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_COND_WAIT_PRE, condition, mutex, is_set(condition));
   CALL_FN_W_WWW(error, original, condition, mutex, time);
   EVENT(PTHREAD_COND_WAIT_POST, condition, mutex, error == ETIMEDOUT);
   if (error != ETIMEDOUT) check("pthread_cond_timedwait", error);
   return error;
}

WRAP(int, pthreadZucondZuclockwait, void* condition, void* mutex, int clock, void* time)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_COND_WAIT_PRE, condition, mutex, is_set(condition));
   CALL_FN_W_WWWW(error, original, condition, mutex, clock, time);
   EVENT(PTHREAD_COND_WAIT_POST, condition, mutex, error == ETIMEDOUT);
   if (error != ETIMEDOUT) check("pthread_cond_clockwait", error);
   return error;
}

WRAP(int, pthreadZucondZusignalZAZa, void* condition)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_COND_SIGNAL_PRE, condition, 0, is_set(condition));
   CALL_FN_W_W(error, original, condition);
   EVENT(PTHREAD_COND_SIGNAL_POST, condition, 0, 0);
   check("pthread_cond_signal", error);
   return error;
}

WRAP(int, pthreadZucondZubroadcastZAZa, void* condition)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_COND_BROADCAST_PRE, condition, 0, is_set(condition));
   CALL_FN_W_W(error, original, condition);
   EVENT(PTHREAD_COND_BROADCAST_POST, condition, 0, 0);
   check("pthread_cond_broadcast", error);
   return error;
}

/* ---------------------------------------------------------------- barriers */

WRAP(int, pthreadZubarrierZuinit, void* barrier, void* attributes, unsigned count)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_BARRIER_INIT_PRE, barrier, count, 0);
   CALL_FN_W_WWW(error, original, barrier, attributes, count);
   check("pthread_barrier_init", error);
   return error;
}

WRAP(int, pthreadZubarrierZuwait, void* barrier)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_BARRIER_WAIT_PRE, barrier, 0, 0);
   CALL_FN_W_W(error, original, barrier);
   if (error != PTHREAD_BARRIER_SERIAL_THREAD) check("pthread_barrier_wait", error);
   return error;
}

WRAP(int, pthreadZubarrierZudestroy, void* barrier)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_BARRIER_DESTROY_PRE, barrier, 0, 0);
   CALL_FN_W_W(error, original, barrier);
   check("pthread_barrier_destroy", error);
   return error;
}

/* ---------------------------------------------------------------- spin locks */

/* In glibc these two are one function under two names. */
static __attribute__((always_inline)) inline int spin_init_or_unlock(OrigFn original, void* lock, int shared)
{
   int error;
   EVENT(PTHREAD_SPIN_INIT_OR_UNLOCK_PRE, lock, 0, 0);
   CALL_FN_W_WW(error, original, lock, shared);
   if (error == 0) EVENT(PTHREAD_SPIN_INIT_OR_UNLOCK_POST, lock, 0, 0);
   check("pthread_spin_init or pthread_spin_unlock", error);
   return error;
}

WRAP(int, pthreadZuspinZuinit, void* lock, int shared)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return spin_init_or_unlock(original, lock, shared);
}

WRAP(int, pthreadZuspinZuunlock, void* lock, int shared)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return spin_init_or_unlock(original, lock, shared);
}

WRAP(int, pthreadZuspinZudestroy, void* lock)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_SPIN_DESTROY_PRE, lock, 0, 0);
   CALL_FN_W_W(error, original, lock);
   check("pthread_spin_destroy", error);
   return error;
}

WRAP(int, pthreadZuspinZulock, void* lock)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_SPIN_LOCK_PRE, lock, 0, 0);
   CALL_FN_W_W(error, original, lock);
   if (error == 0) EVENT(PTHREAD_SPIN_LOCK_POST, lock, 0, 0);
   check("pthread_spin_lock", error);
   return error;
}

WRAP(int, pthreadZuspinZutrylock, void* lock)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_SPIN_LOCK_PRE, lock, 1, 0);
   CALL_FN_W_W(error, original, lock);
   if (error == 0) EVENT(PTHREAD_SPIN_LOCK_POST, lock, 0, 0);
   if (error != EBUSY) check("pthread_spin_trylock", error);
   return error;
}

/* ---------------------------------------------------------------- read-write locks */

WRAP(int, pthreadZurwlockZuinit, void* lock, void* attributes)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_WW(error, original, lock, attributes);
   if (error == 0) EVENT(PTHREAD_RWLOCK_INIT_POST, lock, 0, 0);
   check("pthread_rwlock_init", error);
   return error;
}

WRAP(int, pthreadZurwlockZudestroy, void* lock)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_RWLOCK_DESTROY_PRE, lock, is_zero(lock, sizeof(pthread_rwlock_t)), 0);
   CALL_FN_W_W(error, original, lock);
   check("pthread_rwlock_destroy", error);
   return error;
}

static __attribute__((always_inline)) inline int rwlock_lock(OrigFn original, const char* name, void* lock, int writes, int tries)
{
   int error;
   EVENT(PTHREAD_RWLOCK_LOCK_PRE, lock, writes, tries);
   CALL_FN_W_W(error, original, lock);
   EVENT(PTHREAD_RWLOCK_LOCK_POST, lock, writes, error == 0);
   if (!tries || error != EBUSY) check(name, error);
   return error;
}

WRAP(int, pthreadZurwlockZurdlock, void* lock)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_lock(original, "pthread_rwlock_rdlock", lock, 0, 0);
}

WRAP(int, pthreadZurwlockZuwrlock, void* lock)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_lock(original, "pthread_rwlock_wrlock", lock, 1, 0);
}

WRAP(int, pthreadZurwlockZutryrdlock, void* lock)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_lock(original, "pthread_rwlock_tryrdlock", lock, 0, 1);
}

WRAP(int, pthreadZurwlockZutrywrlock, void* lock)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_lock(original, "pthread_rwlock_trywrlock", lock, 1, 1);
}

static __attribute__((always_inline)) inline int rwlock_timed(OrigFn original, const char* name, void* lock, void* time, int writes)
{
   int error;
   EVENT(PTHREAD_RWLOCK_LOCK_PRE, lock, writes, 1);
   CALL_FN_W_WW(error, original, lock, time);
   EVENT(PTHREAD_RWLOCK_LOCK_POST, lock, writes, error == 0);
   if (error != ETIMEDOUT) check(name, error);
   return error;
}

WRAP(int, pthreadZurwlockZutimedrdlock, void* lock, void* time)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_timed(original, "pthread_rwlock_timedrdlock", lock, time, 0);
}

WRAP(int, pthreadZurwlockZutimedwrlock, void* lock, void* time)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_timed(original, "pthread_rwlock_timedwrlock", lock, time, 1);
}

static __attribute__((always_inline)) inline int rwlock_clock(OrigFn original, const char* name, void* lock, int clock, void* time, int writes)
{
   int error;
   EVENT(PTHREAD_RWLOCK_LOCK_PRE, lock, writes, 1);
   CALL_FN_W_WWW(error, original, lock, clock, time);
   EVENT(PTHREAD_RWLOCK_LOCK_POST, lock, writes, error == 0);
   if (error != ETIMEDOUT) check(name, error);
   return error;
}

WRAP(int, pthreadZurwlockZuclockrdlock, void* lock, int clock, void* time)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_clock(original, "pthread_rwlock_clockrdlock", lock, clock, time, 0);
}

WRAP(int, pthreadZurwlockZuclockwrlock, void* lock, int clock, void* time)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return rwlock_clock(original, "pthread_rwlock_clockwrlock", lock, clock, time, 1);
}

WRAP(int, pthreadZurwlockZuunlock, void* lock)
{
   OrigFn original;
   int error;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_RWLOCK_UNLOCK_PRE, lock, 0, 0);
   CALL_FN_W_W(error, original, lock);
   EVENT(PTHREAD_RWLOCK_UNLOCK_POST, lock, 0, 0);
   check("pthread_rwlock_unlock", error);
   return error;
}

/* ---------------------------------------------------------------- semaphores */

WRAP(int, semZuinitZAZa, void* semaphore, int shared, unsigned value)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_WWW(result, original, semaphore, shared, value);
   if (result == 0) EVENT(POSIX_SEM_INIT_POST, semaphore, value, 0);
   else check("sem_init", last_error());
   return result;
}

WRAP(int, semZudestroyZAZa, void* semaphore)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_DESTROY_PRE, semaphore, 0, 0);
   CALL_FN_W_W(result, original, semaphore);
   if (result != 0) check("sem_destroy", last_error());
   return result;
}

WRAP(void*, semZuopen, void* name, long flags, long mode, unsigned long value)
{
   OrigFn original;
   void* semaphore;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_WWWW(semaphore, original, name, flags, mode, value);
   if (semaphore == SEM_FAILED) check("sem_open", last_error());
   else if (flags & O_CREAT) EVENT(POSIX_SEM_INIT_POST, semaphore, value, 0);
   return semaphore;
}

WRAP(int, semZuclose, void* semaphore)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_DESTROY_PRE, semaphore, 0, 0);
   CALL_FN_W_W(result, original, semaphore);
   if (result != 0) check("sem_close", last_error());
   return result;
}

/* From here on, names come with and without a version. */
WRAP_ALSO(int, semZuwait, semZuwaitZAZa, void* semaphore)
WRAP(int, semZuwait, void* semaphore)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_WAIT_PRE, semaphore, 0, 0);
   CALL_FN_W_W(result, original, semaphore);
   EVENT(POSIX_SEM_WAIT_POST, semaphore, result == 0, 0);
   if (result != 0) check("sem_wait", last_error());
   return result;
}

WRAP_ALSO(int, semZutrywait, semZutrywaitZAZa, void* semaphore)
WRAP(int, semZutrywait, void* semaphore)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_WAIT_PRE, semaphore, 0, 0);
   CALL_FN_W_W(result, original, semaphore);
   EVENT(POSIX_SEM_WAIT_POST, semaphore, result == 0, 0);
   return result;
}

WRAP_ALSO(int, semZutimedwait, semZutimedwaitZAZa, void* semaphore, void* time)
WRAP(int, semZutimedwait, void* semaphore, void* time)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_WAIT_PRE, semaphore, 0, 0);
   CALL_FN_W_WW(result, original, semaphore, time);
   EVENT(POSIX_SEM_WAIT_POST, semaphore, result == 0, 0);
   return result;
}

WRAP_ALSO(int, semZuclockwait, semZuclockwaitZAZa, void* semaphore, int clock, void* time)
WRAP(int, semZuclockwait, void* semaphore, int clock, void* time)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_WAIT_PRE, semaphore, 0, 0);
   CALL_FN_W_WWW(result, original, semaphore, clock, time);
   EVENT(POSIX_SEM_WAIT_POST, semaphore, result == 0, 0);
   return result;
}

WRAP_ALSO(int, semZupost, semZupostZAZa, void* semaphore)
WRAP(int, semZupost, void* semaphore)
{
   OrigFn original;
   int result;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(POSIX_SEM_POST_PRE, semaphore, 0, 0);
   CALL_FN_W_W(result, original, semaphore);
   EVENT(POSIX_SEM_POST_POST, semaphore, 0, 0);
   if (result != 0) check("sem_post", last_error());
   return result;
}

/* ---------------------------------------------------------------- Qt's mutex

   It is not made of a pthread mutex. Names as the C++ compiler mangles them, in Qt 4 and in Qt 5. */

#define IN_QT4(name) I_WRAP_SONAME_FNNAME_ZU(libQtCoreZdsoZa, name)
#define IN_QT5(name) I_WRAP_SONAME_FNNAME_ZU(libQt5CoreZdsoZa, name)
#define WRAP_QT(result, name, ...)                                                               \
   result IN_QT4(name)(__VA_ARGS__);                                                             \
   result IN_QT5(name)(__VA_ARGS__) __attribute__((alias(STRING(IN_QT4(name)))));                \
   result IN_QT4(name)(__VA_ARGS__)

WRAP_QT(void, _ZN6QMutex4lockEv, void* mutex)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 0, 0);
   CALL_FN_v_W(original, mutex);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, 1, 0);
}

WRAP_QT(void, _ZN6QMutex6unlockEv, void* mutex)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_UNLOCK_PRE, mutex, 0, 0);
   CALL_FN_v_W(original, mutex);
   EVENT(PTHREAD_MUTEX_UNLOCK_POST, mutex, 0, 0);
}

/* bool QMutex::tryLock() and bool QMutex::tryLock(int milliseconds): only the lowest byte is the result. */
WRAP_QT(long, _ZN6QMutex7tryLockEv, void* mutex)
{
   OrigFn original;
   long locked;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 1, 0);
   CALL_FN_W_W(locked, original, mutex);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, locked & 1, 0);
   return locked;
}

WRAP_QT(long, _ZN6QMutex7tryLockEi, void* mutex, long milliseconds)
{
   OrigFn original;
   long locked;
   VALGRIND_GET_ORIG_FN(original);
   EVENT(PTHREAD_MUTEX_LOCK_PRE, mutex, 1, 0);
   CALL_FN_W_WW(locked, original, mutex, milliseconds);
   EVENT(PTHREAD_MUTEX_LOCK_POST, mutex, locked & 1, 0);
   return locked;
}

/* A constructor and a destructor each have two names. */
static __attribute__((always_inline)) inline void* qmutex_constructor(OrigFn original, void* mutex, long recursive)
{
   void* result;
   CALL_FN_W_WW(result, original, mutex, recursive);
   EVENT(PTHREAD_MUTEX_INIT_POST, mutex, recursive != 0, 0);
   return result;
}

static __attribute__((always_inline)) inline void* qmutex_destructor(OrigFn original, void* mutex)
{
   void* result;
   EVENT(PTHREAD_MUTEX_DESTROY_PRE, mutex, 0, 0);
   CALL_FN_W_W(result, original, mutex);
   return result;
}

WRAP_QT(void*, _ZN6QMutexC1ENS_13RecursionModeE, void* mutex, long recursive)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return qmutex_constructor(original, mutex, recursive);
}

WRAP_QT(void*, _ZN6QMutexC2ENS_13RecursionModeE, void* mutex, long recursive)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return qmutex_constructor(original, mutex, recursive);
}

WRAP_QT(void*, _ZN6QMutexD1Ev, void* mutex)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return qmutex_destructor(original, mutex);
}

WRAP_QT(void*, _ZN6QMutexD2Ev, void* mutex)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   return qmutex_destructor(original, mutex);
}

/* ---------------------------------------------------------------- OpenMP's tasks

   Entry points of GCC's libgomp, as its header libgomp_g.h declares them. So that the beginning and the end of
   a task are seen, it gets a function and data of ours, which begin with what is needed to go on to its own. */

#define WRAP_GOMP(result, name, ...)                                                             \
   result I_WRAP_SONAME_FNNAME_ZU(libgompZdsoZa, name)(__VA_ARGS__);                             \
   result I_WRAP_SONAME_FNNAME_ZU(libgompZdsoZa, name)(__VA_ARGS__)

#define TASK(code, object, object2) event(code, (const void*)(long)(object), (long)(object2), 0)

/* Bits of flags: GOMP_TASK_FLAG_… */
enum { FLAG_FINAL = 1 << 1, FLAG_DEPEND = 1 << 3, FLAG_IF = 1 << 10, FLAG_NOGROUP = 1 << 11, FLAG_REDUCTION = 1 << 12, FLAG_DETACH = 1 << 13 };

/* The library writes to the first words of a task's data (bounds of a loop, the event of a detached task), and reads
   the third (reductions). */
struct task {
   long words[3];
   long written;
   long number;
   unsigned long offset; /* of its own data, which follow */
   void (*function)(void*);
};

/* Data of a task whose variables are copied by a function. */
struct uncopied {
   struct task task;
   void (*copy)(void*, void*);
   void* data;
};

static long task_count;

static void run_task(void* argument)
{
   struct task* task = argument;
   long number = task->number, *data = (long*)((char*)argument + task->offset);
   void* frame = __builtin_frame_address(0);
   for (long i = 0; i < task->written; i++) data[i] = task->words[i];
   TASK(TASK_BEGIN, number, frame);
   task->function(data);
   TASK(TASK_END, number, frame);
}

static void copy_bytes(void* to, const void* from, unsigned long size)
{
   for (unsigned long i = 0; i < size; i++) ((volatile char*)to)[i] = ((const char*)from)[i];
}

static void copy_task(void* to, void* from)
{
   struct uncopied* uncopied = from;
   char* data = (char*)to + uncopied->task.offset;
   copy_bytes(to, from, sizeof(struct task));
   copy_bytes(data, uncopied->task.words, uncopied->task.written * sizeof(long));
   uncopied->copy(data, uncopied->data);
}

static void tell_dependences(unsigned count, void** addresses, long how)
{
   for (unsigned i = 0; i < count; i++) TASK(TASK_DEPEND, addresses[i], how);
}

/* Two layouts: counts of all and of outputs; or 0 and counts of all, outputs, mutexinoutset, inputs, and the rest are
   depend objects, of an address and a kind each. */
static void tell_dependence(void** depend)
{
   unsigned long all = (unsigned long)depend[0], out = (unsigned long)depend[1];
   if (all != 0) {
      tell_dependences(out, depend + 2, DEPEND_OUT);
      tell_dependences(all - out, depend + 2 + out, DEPEND_IN);
      return;
   }
   all = out;
   out = (unsigned long)depend[2] + (unsigned long)depend[3];
   unsigned long in = (unsigned long)depend[4];
   tell_dependences(out, depend + 5, DEPEND_OUT);
   tell_dependences(in, depend + 5 + out, DEPEND_IN);
   for (unsigned long i = out + in; i < all; i++) {
      void** object = depend[5 + i];
      unsigned long kind = (unsigned long)object[1];
      tell_dependences(1, object, kind == 1 ? DEPEND_IN : kind == 5 ? DEPEND_SET : DEPEND_OUT);
   }
}

/* Makes our data of a task's data, in memory that has room for it. */
static __attribute__((always_inline)) inline void* our_data(void* room, struct task task, void (*copy)(void*, void*), void* data,
                                                            unsigned long size)
{
   if (copy) {
      *(struct uncopied*)room = (struct uncopied){ task, copy, data };
   } else {
      *(struct task*)room = task;
      copy_bytes((char*)room + task.offset, data, size);
   }
   return room;
}

static unsigned long align_up(unsigned long value, unsigned long alignment) { return (value + alignment - 1) & -alignment; }

/* Outside of parallel regions nobody but the creator could execute a task, and the library does so at once. */
static long may_be_deferred(unsigned long condition)
{
   return condition && (omp_get_level == NULL || omp_get_level() > 0);
}

#define AT_LEAST(a, b) ((unsigned long)(a) > (b) ? (unsigned long)(a) : (b))

/* Declares `task`, `alignment` of our data and `ours`, the data. */
#define OUR_TASK(words_written)                                                                  \
   struct task task = { .written = (words_written), .function = function };                      \
   unsigned long alignment = AT_LEAST(align, sizeof(long));                                      \
   task.offset = align_up(sizeof task, alignment);                                               \
   task.number = __atomic_add_fetch(&task_count, 1, __ATOMIC_RELAXED);                           \
   if ((flags & FLAG_REDUCTION) && size >= (long)sizeof task.words) task.words[2] = ((long*)data)[2]; \
   void* ours = our_data((void*)align_up((unsigned long)__builtin_alloca(                        \
      AT_LEAST(task.offset + size, sizeof(struct uncopied)) + alignment), alignment), task, copy, data, size)

WRAP_GOMP(void, GOMP_task, void (*function)(void*), void* data, void (*copy)(void*, void*), long size, long align, long if_clause,
          unsigned long flags, void** depend, long priority, void* detach)
{
   OrigFn original;
   long unused;
   VALGRIND_GET_ORIG_FN(original);
   OUR_TASK((flags & FLAG_DETACH) != 0);
   if (flags & FLAG_DEPEND) tell_dependence(depend);
   TASK(TASK_CREATE_BEGIN, task.number,
        (may_be_deferred(if_clause & 0xff) ? 0 : TASK_IS_UNDEFERRED) | ((flags & FLAG_FINAL) ? TASK_IS_FINAL : 0));
   CALL_FN_W_10W(unused, original, run_task, ours, copy ? copy_task : NULL, size + task.offset, alignment, if_clause, flags, depend,
                 priority, detach);
   (void)unused;
   TASK(TASK_CREATE, task.number, 0);
}

#define WRAP_TASKLOOP(name)                                                                                              \
   WRAP_GOMP(void, name, void (*function)(void*), void* data, void (*copy)(void*, void*), long size, long align,         \
             unsigned long flags, unsigned long count, long priority, long start, long end, long step)                   \
   {                                                                                                                     \
      OrigFn original;                                                                                                   \
      long unused;                                                                                                       \
      VALGRIND_GET_ORIG_FN(original);                                                                                    \
      OUR_TASK(2);                                                                                                       \
      TASK(TASK_CREATE_BEGIN, task.number,                                                                               \
           (may_be_deferred(flags & FLAG_IF) ? 0 : TASK_IS_UNDEFERRED) | ((flags & FLAG_FINAL) ? TASK_IS_FINAL : 0)      \
              | ((flags & FLAG_NOGROUP) ? 0 : TASK_IS_GROUPED) | TASK_IS_LOOP);                                          \
      CALL_FN_W_11W(unused, original, run_task, ours, copy ? copy_task : NULL, size + task.offset, alignment, flags,     \
                    count, priority, start, end, step);                                                                  \
      (void)unused;                                                                                                      \
      TASK(TASK_CREATE, task.number, 0);                                                                                 \
   }

WRAP_TASKLOOP(GOMP_taskloop)
WRAP_TASKLOOP(GOMP_taskloop_ull)

WRAP_GOMP(void, GOMP_taskwait, void)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   TASK(TASKWAIT_BEGIN, 0, 0);
   CALL_FN_v_v(original);
   TASK(TASKWAIT, 0, 0);
}

WRAP_GOMP(void, GOMP_taskwait_depend, void** depend)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   tell_dependence(depend);
   TASK(TASKWAIT_BEGIN, 0, 1);
   CALL_FN_v_W(original, depend);
   TASK(TASKWAIT, 0, 1);
}

WRAP_GOMP(void, GOMP_taskgroup_start, void)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_v_v(original);
   TASK(TASKGROUP, 0, 0);
}

WRAP_GOMP(void, GOMP_taskgroup_end, void)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   TASK(TASKGROUP_END_BEGIN, 0, 0);
   CALL_FN_v_v(original);
   TASK(TASKGROUP_END, 0, 0);
}

WRAP_GOMP(void, omp_fulfill_event, void* which)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   TASK(TASK_FULFILL, 0, 0);
   CALL_FN_v_W(original, which);
}

/* What waits at a barrier of the team, which completes all its tasks. Nobody is told as long as there are no tasks. */
#define WRAP_BARRIER(name)                                                                       \
   WRAP_GOMP(long, name, long argument)                                                          \
   {                                                                                             \
      OrigFn original;                                                                           \
      long result;                                                                               \
      VALGRIND_GET_ORIG_FN(original);                                                            \
      CALL_FN_W_W(result, original, argument);                                                   \
      if (task_count) TASK(TASKS_DONE, 0, 0);                                                    \
      return result;                                                                             \
   }

WRAP_BARRIER(GOMP_barrier)
WRAP_BARRIER(GOMP_barrier_cancel)
WRAP_BARRIER(GOMP_loop_end)
WRAP_BARRIER(GOMP_loop_end_cancel)
WRAP_BARRIER(GOMP_sections_end)
WRAP_BARRIER(GOMP_sections_end_cancel)
WRAP_BARRIER(GOMP_single_copy_end)
WRAP_BARRIER(GOMP_workshare_task_reduction_unregister)
WRAP_BARRIER(GOMP_parallel_end)

/* Null for the thread that is to execute the block, which does not wait yet. */
WRAP_GOMP(void*, GOMP_single_copy_start, void)
{
   OrigFn original;
   void* result;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_W_v(result, original);
   if (task_count && result) TASK(TASKS_DONE, 0, 0);
   return result;
}

#define WRAP_PARALLEL(name)                                                                      \
   WRAP_GOMP(long, name, void* function, void* data, long threads, long flags)                   \
   {                                                                                             \
      OrigFn original;                                                                           \
      long result;                                                                               \
      VALGRIND_GET_ORIG_FN(original);                                                            \
      CALL_FN_W_WWWW(result, original, function, data, threads, flags);                          \
      if (task_count) TASK(TASKS_DONE, 0, 0);                                                    \
      return result;                                                                             \
   }

WRAP_PARALLEL(GOMP_parallel)
WRAP_PARALLEL(GOMP_parallel_reductions)

/* ---------------------------------------------------------------- Ada tasks

   The runtime of GNAT tells debuggers of these two moments. They are no operations on an object: plain requests. */

#define WRAP_GNAT(name, ...)                                                                     \
   void I_WRAP_SONAME_FNNAME_ZU(libgnarlZa, name)(__VA_ARGS__);                                  \
   void I_WRAP_SONAME_FNNAME_ZU(NONE, name)(__VA_ARGS__)                                         \
      __attribute__((alias(STRING(I_WRAP_SONAME_FNNAME_ZU(libgnarlZa, name)))));                 \
   void I_WRAP_SONAME_FNNAME_ZU(libgnarlZa, name)(__VA_ARGS__)

WRAP_GNAT(system__tasking__debug__master_hook, void* dependent, void* master, long level)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_v_WWW(original, dependent, master, level);
   VALGRIND_DO_CLIENT_REQUEST_STMT(_VG_USERREQ__HG_GNAT_MASTER_HOOK, dependent, master, level, 0, 0);
}

WRAP_GNAT(system__tasking__debug__master_completed_hook, void* self, long level)
{
   OrigFn original;
   VALGRIND_GET_ORIG_FN(original);
   CALL_FN_v_WW(original, self, level);
   VALGRIND_DO_CLIENT_REQUEST_STMT(_VG_USERREQ__HG_GNAT_MASTER_COMPLETED_HOOK, self, level, 0, 0, 0);
}
