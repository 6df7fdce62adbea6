/* The waiting of loads of race (analyses/race/waiting-loads.ts) for all rows of accesses that TypeScript need not look at. The
   tables are its own; what the rules are and mean is said there.

   SPDX-License-Identifier: Apache-2.0 */

/* As in waiting-loads.ts. */
#define W_STACK_BYTES 65536
#define W_WATCHED (1 << 12)
enum { W_UNKNOWN, W_IGNORED, W_QUIET, W_STORE, W_LOAD };
enum { W_STORED, W_SP, W_ERA, W_FIRST, W_STATE_WORDS };
enum { W_ADDRESS, W_VALUE, W_STORES, W_IS_NEW, W_NOTED, W_NOTED_ERA, W_ENTRY_WORDS = 8 };
enum { W_IS_SPIN = 1, W_IS_FULL = 2 };

struct waiting {
   f64* state;
   i32* watched;
   u8* loads;
   size_t load_count;
   f64* entries;
   size_t entries_size;
   const i32* roles;
   size_t role_count;
   const u8* stores;
   size_t store_count;
};

static i32* watch_of(struct waiting* w, u64 address)
{
   return w->watched + ((address ^ address >> 12) & (W_WATCHED - 1));
}

/* Takes rows from number `at` on; returns the number of the first that is left to TypeScript, or `count`. */
static u32 take_waiting(struct waiting* w, const u8* m, u32 at, u32 count)
{
   f64* state = w->state;
   u64 low = (u64)state[W_SP] - W_STACK_BYTES;
   for (; at < count; at++) {
      u32 site = i32_load(m, 4 * at, ROW_SITES);
      if (site >= w->role_count || site >= w->store_count) return at;
      i32 role = w->roles[site];
      if (role == W_IGNORED) continue;
      u64 address = i64_load(m, 8 * at, ROW_ADDRESSES);
      if (w->stores[site]) {
         if (address - low <= 2 * W_STACK_BYTES) {
            if (*watch_of(w, address) != 0) return at;
         } else if (role == W_UNKNOWN) return at;
         else if (role == W_STORE) state[W_STORED]++;
         continue;
      }
      size_t load = role - W_LOAD, first = W_ENTRY_WORDS * ((size_t)state[W_FIRST] + load);
      if (role < W_LOAD || load >= w->load_count || first + W_ENTRY_WORDS > w->entries_size) return at;
      f64* entry = w->entries + first;
      if (!(w->loads[load] & W_IS_FULL) && (entry[W_NOTED] != (f64)address || entry[W_NOTED_ERA] != state[W_ERA])) return at;
      u64 value = i64_load(m, 8 * at, ROW_VALUES), before;
      memcpy(&before, entry + W_VALUE, sizeof before);
      memcpy(entry + W_VALUE, &value, sizeof value);
      if (entry[W_ADDRESS] == (f64)address && entry[W_STORES] == state[W_STORED]) {
         entry[W_IS_NEW] = before != value;
         continue;
      }
      if (entry[W_STORES] >= 0 && entry[W_IS_NEW] != 0) w->loads[load] |= W_IS_SPIN;
      if (entry[W_ADDRESS] >= 0) --*watch_of(w, entry[W_ADDRESS]);
      ++*watch_of(w, address);
      entry[W_ADDRESS] = address;
      entry[W_STORES] = state[W_STORED];
      entry[W_IS_NEW] = 0;
   }
   return at;
}
