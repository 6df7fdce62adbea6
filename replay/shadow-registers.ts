/** `ShadowRegisters` of all threads of a replay: of the one that runs, and as the others left them. */
import type { ProcessReplay, Thread } from './replay.js';
import type { SavedShadow } from './shadow-guest.js';
import type { OriginTag, ShadowRegisters } from './shadow.js';

export class ReplayRegisters implements ShadowRegisters {
  constructor(private readonly replay: ProcessReplay) {}

  get threads(): readonly number[] {
    return [...this.replay.threadsNow().threads.values()]
      .filter((thread) => !thread.ended)
      .map((thread) => thread.number);
  }

  registerOffset(name: string): number {
    return this.replay.registerOffset(name);
  }

  readRegister(thread: number, offset: number): bigint {
    const { threads, current } = this.replay.threadsNow();
    const state = current?.number === thread ? this.replay.guest.state : threads.get(thread)?.state;
    return state ? new DataView(state.buffer, state.byteOffset).getBigUint64(offset, true) : 0n;
  }

  markRegistersDefined(thread: number, offset: number, size: number): void {
    this.visit(thread, () => this.replay.guest.shadow!.writeRegisters(offset, size, 0n, 0));
  }

  /** Sets which bits of 8 bytes of the guest state are undefined, and of what origin they are. */
  markRegister(thread: number, offset: number, bits: bigint, origin: OriginTag): void {
    this.visit(thread, () => this.replay.guest.shadow!.writeRegisters(offset, 8, bits, origin));
  }

  firstUndefinedRegister(
    thread: number,
    offset: number,
    size: number,
  ): { readonly origin: OriginTag } | undefined {
    return this.visit(thread, () => {
      const { bits, origin } = this.replay.guest.shadow!.readRegisters(offset, size);
      return bits === 0n ? undefined : { origin };
    });
  }

  /** At most `limit` frames of a thread with their stack pointers, innermost first. */
  framesOf(thread: number, limit: number): { pc: bigint; sp: bigint }[] {
    const pc = this.readRegister(thread, this.registerOffset('RIP'));
    const sp = this.readRegister(thread, this.registerOffset('RSP'));
    return this.visit(thread, () => this.replay.guest.shadow!.frames(pc, sp, limit));
  }

  /** The shadow of all registers of a thread, with the calls under way. */
  saveShadow(thread: number): SavedShadow {
    return this.visit(thread, () => this.replay.guest.shadow!.save());
  }

  restoreShadow(thread: number, saved: unknown): void {
    this.visit(thread, () => this.replay.guest.shadow!.restore(saved as SavedShadow));
  }

  /** Does something with a thread's shadow in the place of the current one. */
  private visit<T>(thread: number, action: () => T): T {
    const { threads, current } = this.replay.threadsNow();
    const other: Thread | undefined = threads.get(thread);
    if (!other || other === current) return action();
    const shadow = this.replay.guest.shadow!;
    const saved: SavedShadow = shadow.save();
    shadow.restore(other.shadow);
    try {
      return action();
    } finally {
      other.shadow = shadow.save();
      shadow.restore(saved);
    }
  }
}
