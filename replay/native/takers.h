/* Accesses of race that are set aside: threads of the module take them while the program's replay goes on, each those to places
   of its own (history.h). They read what nobody changes until they are waited for.

   SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>

/* As in history.ts. */
#define G_MOST 4
/* Records that a thread gets at once. */
#define G_PIECE 64

struct member {
   struct gang* gang;
   pthread_t thread;
   struct taker taker;
   i32 free, next, limit;
   /* First row that is left. */
   u32 left;
};

struct gang {
   struct history* history;
   /* Of what follows, and of records that are free. */
   pthread_mutex_t lock, records;
   pthread_cond_t begun, done;
   pthread_barrier_t agreed;
   struct member members[G_MOST];
   u32 count, working, batches;
   /* Rows from this number on are taken by nobody. */
   u32 stop;
   int is_over;
};

/* More records for a thread: free ones, or new ones. */
static int get_records(struct history* h, struct taker* taker)
{
   i32 *r = h->records, *state = h->state, words = G_PIECE * H_RECORD_WORDS;
   if (taker->of == 1) return 0;
   pthread_mutex_lock(&h->gang->records);
   for (i32 i = 0; i < G_PIECE && state[H_STATE_FREE] != 0; i++) {
      i32 record = state[H_STATE_FREE];
      state[H_STATE_FREE] = r[record + H_NEXT];
      give_up(h, taker, record);
   }
   if (*taker->free == 0 && (size_t)state[H_STATE_END] + words <= h->records_size) {
      *taker->next = state[H_STATE_END];
      *taker->limit = state[H_STATE_END] += words;
      memset(r + *taker->next, 0, words * sizeof *r);
   }
   pthread_mutex_unlock(&h->gang->records);
   return *taker->free != 0 || *taker->next < *taker->limit;
}

static void give_back_records(struct history* h, struct taker* taker)
{
   if (taker->of == 1) return;
   for (; *taker->next < *taker->limit; *taker->next += H_RECORD_WORDS) give_up(h, taker, *taker->next);
   if (*taker->free == 0) return;
   h->records[taker->last_free + H_NEXT] = h->state[H_STATE_FREE];
   h->state[H_STATE_FREE] = *taker->free;
   *taker->free = 0;
}

/* The first row that accesses a place of the taker's which is marked, or on a page that is not known. */
static u32 first_marked(const struct history* h, const struct taker* taker, const struct rows* rows)
{
   for (u32 at = 0; at < rows->count; at++) {
      u32 site = rows->sites[at];
      u64 address = rows->addresses[at], end = address + h->sizes[site];
      if (h->kinds[site] & h->state[H_STATE_DROPPED]) continue;
      for (; address < end; address = (address | 7) + 1) {
         if (!is_taken_by(taker, address)) continue;
         i64 granule = granule_of(h, address);
         if (granule < 0 || h->heads[granule] < 0) return at;
      }
   }
   return rows->count;
}

static void take_part(struct member* member)
{
   struct gang* gang = member->gang;
   struct history* h = gang->history;
   struct rows rows = h->batch;
   if (member->taker.of > 1) {
      u32 first = first_marked(h, &member->taker, &rows), stop = __atomic_load_n(&gang->stop, __ATOMIC_RELAXED);
      while (first < stop && !__atomic_compare_exchange_n(&gang->stop, &stop, first, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
      pthread_barrier_wait(&gang->agreed);
      rows.count = gang->stop;
   }
   member->left = take_accesses(h, &member->taker, &rows, 0);
}

static void* work(void* data)
{
   struct member* member = data;
   struct gang* gang = member->gang;
   for (u32 batches = 0;; batches++) {
      pthread_mutex_lock(&gang->lock);
      while (gang->batches == batches && !gang->is_over) pthread_cond_wait(&gang->begun, &gang->lock);
      pthread_mutex_unlock(&gang->lock);
      if (gang->batches == batches) return NULL;
      take_part(member);
      pthread_mutex_lock(&gang->lock);
      if (--gang->working == 0) pthread_cond_signal(&gang->done);
      pthread_mutex_unlock(&gang->lock);
   }
}

static void wait_for_gang(struct gang* gang)
{
   pthread_mutex_lock(&gang->lock);
   while (gang->working > 0) pthread_cond_wait(&gang->done, &gang->lock);
   pthread_mutex_unlock(&gang->lock);
}

static void drop_gang(struct gang* gang)
{
   if (gang == NULL) return;
   wait_for_gang(gang);
   pthread_mutex_lock(&gang->lock);
   gang->is_over = 1;
   pthread_cond_broadcast(&gang->begun);
   pthread_mutex_unlock(&gang->lock);
   for (u32 i = 0; i < gang->count; i++) pthread_join(gang->members[i].thread, NULL);
   free(gang);
}

/* Returns NULL when there can be no threads. */
static struct gang* make_gang(struct history* h, u32 count)
{
   struct gang* gang = calloc(1, sizeof *gang);
   if (gang == NULL) return NULL;
   gang->history = h;
   pthread_mutex_init(&gang->lock, NULL);
   pthread_mutex_init(&gang->records, NULL);
   pthread_cond_init(&gang->begun, NULL);
   pthread_cond_init(&gang->done, NULL);
   pthread_barrier_init(&gang->agreed, NULL, count);
   sigset_t all, before;
   sigfillset(&all);
   pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are Node's */
   for (u32 i = 0; i < count; i++) {
      struct member* member = &gang->members[i];
      member->gang = gang;
      member->taker = (struct taker){ i, count, &member->free, &member->next, &member->limit, 0 };
      if (count == 1) member->taker = h->all;
      if (pthread_create(&member->thread, NULL, work, member) != 0) break;
      gang->count++;
   }
   pthread_sigmask(SIG_SETMASK, &before, NULL);
   if (gang->count == count) return gang;
   drop_gang(gang);
   return NULL;
}

/* Sets rows aside, if all of them are the program's or of no interest, and has the gang begin to take them; returns whether. */
static int set_aside(struct history* h, struct rows rows, u32 from)
{
   u32* sites = (u32*)h->batch.sites;
   u32 count = rows.count - from;
   for (u32 i = 0; i < count; i++) {
      u32 site = rows.sites[from + i];
      if (site >= h->site_count || (h->kinds[site] != H_PLAIN && !(h->kinds[site] & h->state[H_STATE_DROPPED]))) return 0;
      sites[i] = site;
   }
   memcpy((u64*)h->batch.ticks, rows.ticks + from, count * sizeof *rows.ticks);
   memcpy((u64*)h->batch.addresses, rows.addresses + from, count * sizeof *rows.addresses);
   h->batch.count = count;
   struct gang* gang = h->gang;
   pthread_mutex_lock(&gang->lock);
   gang->stop = count;
   gang->working = gang->count;
   gang->batches++;
   pthread_cond_broadcast(&gang->begun);
   pthread_mutex_unlock(&gang->lock);
   return 1;
}

/* Waits until the rows that were set aside are taken; returns the number of the first that is left. */
static u32 end_taking(struct history* h)
{
   u32 left = h->batch.count;
   wait_for_gang(h->gang);
   if (h->gang->stop < left) left = h->gang->stop;
   for (u32 i = 0; i < h->gang->count; i++) {
      struct member* member = &h->gang->members[i];
      if (member->left < left) left = member->left;
      give_back_records(h, &member->taker);
   }
   return left;
}
