/**
 * Calling contexts as a profile for pprof (https://github.com/google/pprof/blob/main/proto/profile.proto), compressed with
 * gzip: the few fields of its messages that are used, in the encoding of Protocol Buffers.
 */
import { gzipSync } from 'node:zlib';
import type { Context } from './costs.js';
import type { CallEvent } from './events.js';

/** Numbers of fields. */
const PROFILE = {
  sampleType: 1,
  sample: 2,
  location: 4,
  function: 5,
  strings: 6,
  periodType: 11,
  period: 12,
};
const VALUE_TYPE = { type: 1, unit: 2 };
const SAMPLE = { locations: 1, values: 2, label: 3 };
const LABEL = { key: 1, number: 3 };
const LOCATION = { id: 1, line: 4 };
const LINE = { function: 1, line: 2 };
const FUNCTION = { id: 1, name: 2, systemName: 3, file: 4 };

const [VARINT, BYTES] = [0, 2];

/** A message being written. */
class Message {
  private readonly bytes: number[] = [];

  /** A field with a number from 0 to 2^53; none for 0, which is what an absent one means. */
  number(field: number, value: number): this {
    if (value === 0) return this;
    this.varint((field << 3) | VARINT);
    this.varint(value);
    return this;
  }

  message(field: number, content: Message | Uint8Array): this {
    const bytes = content instanceof Message ? content.bytes : content;
    this.varint((field << 3) | BYTES);
    this.varint(bytes.length);
    for (const byte of bytes) this.bytes.push(byte);
    return this;
  }

  /** A repeated field of numbers, packed. */
  numbers(field: number, values: readonly number[]): this {
    const content = new Message();
    for (const value of values) content.varint(value);
    return this.message(field, content);
  }

  private varint(value: number): void {
    // beyond 32 bits, where shifts do not reach
    for (; value >= 128; value = Math.floor(value / 128)) this.bytes.push((value % 128) | 128);
    this.bytes.push(value);
  }

  encode(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

export function pprofFile(
  all: Iterable<Context>,
  functions: readonly { readonly name: string; readonly file: string; readonly line: number }[],
  events: readonly CallEvent[],
): Uint8Array {
  const strings = new Map<string, number>([['', 0]]);
  const text = (value: string): number => {
    const number = strings.get(value) ?? strings.size;
    strings.set(value, number);
    return number;
  };
  const [type, ...others] = [{ column: 'instructions', unit: 'count' }, ...events].map(
    ({ column, unit }) =>
      new Message().number(VALUE_TYPE.type, text(column)).number(VALUE_TYPE.unit, text(unit)),
  );
  const profile = new Message().message(PROFILE.sampleType, type!);
  for (const one of others) profile.message(PROFILE.sampleType, one);
  for (const { thread, path, self, selfEvents } of all) {
    const label = new Message().number(LABEL.key, text('thread')).number(LABEL.number, thread);
    const sample = new Message()
      // numbers of locations, the innermost first
      .numbers(SAMPLE.locations, path.map((fn) => fn + 1).reverse())
      .numbers(SAMPLE.values, [self, ...selfEvents])
      .message(SAMPLE.label, label);
    profile.message(PROFILE.sample, sample);
  }
  functions.forEach(({ name, file, line }, fn) => {
    const id = fn + 1;
    const place = new Message().number(LINE.function, id).number(LINE.line, line);
    profile
      .message(
        PROFILE.location,
        new Message().number(LOCATION.id, id).message(LOCATION.line, place),
      )
      .message(
        PROFILE.function,
        new Message()
          .number(FUNCTION.id, id)
          .number(FUNCTION.name, text(name))
          .number(FUNCTION.systemName, text(name))
          .number(FUNCTION.file, text(file)),
      );
  });
  for (const value of strings.keys()) profile.message(PROFILE.strings, Buffer.from(value));
  profile.message(PROFILE.periodType, type!).number(PROFILE.period, 1);
  return gzipSync(profile.encode());
}
