/* Blocks of LZ4 (LZ4 Block Format Description), taken apart. SPDX-License-Identifier: Apache-2.0 */

/* Reads what a length has beyond the 4 bits of the token; false at the end of the block. */
static bool lz4_length(const u8** at, const u8* end, size_t* length)
{
   if (*length != 15) return true;
   for (u8 more = 255; more == 255; *length += more) {
      if (*at == end) return false;
      more = *(*at)++;
   }
   return true;
}

/* Copies in steps of 16 bytes where both have room for that, as most pieces are short. */
static void lz4_copy(u8* to, const u8* from, size_t count, bool hasRoom)
{
   if (!hasRoom) {
      for (size_t i = 0; i < count; i++) to[i] = from[i];
      return;
   }
   for (size_t i = 0; i < count; i += 16) memcpy(to + i, from + i, 16);
}

/* Decompresses a block of `size` bytes; false unless it is whole, and holds exactly `room` bytes. */
static bool lz4_decompress(const u8* at, size_t size, u8* out, size_t room)
{
   const u8 *end = at + size, *start = out, *out_end = out + room;
   while (at < end) {
      u8 token = *at++;
      size_t count = token >> 4;
      if (!lz4_length(&at, end, &count) || count > (size_t)(end - at) || count > (size_t)(out_end - out)) return false;
      lz4_copy(out, at, count, end - at >= (i64)count + 16 && out_end - out >= (i64)count + 16);
      at += count;
      out += count;
      if (at == end) return out == out_end;
      if (end - at < 2) return false;
      size_t distance = at[0] | at[1] << 8;
      at += 2;
      count = token & 15;
      if (!lz4_length(&at, end, &count)) return false;
      count += 4;
      if (distance == 0 || distance > (size_t)(out - start) || count > (size_t)(out_end - out)) return false;
      lz4_copy(out, out - distance, count, distance >= 16 && out_end - out >= (i64)count + 16);
      out += count;
   }
   return false;
}
