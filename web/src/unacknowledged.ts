/**
 * The input that is on its way: numbered, sent, and not yet known to have reached the sandbox. What is left of it when a connection is
 * lost may have arrived or not, and nobody but the person may decide to type it again.
 */

/** No further input is sent while this many bytes of it are on their way: what the broker keeps for a shell that takes none. */
export const MAX_UNACKNOWLEDGED_BYTES = 64 * 1024;
/**
 * How far a page that was loaded again leaves the numbers behind that its predecessor may have used: the broker knows what was handed on, and
 * not yet what is still on its way. Far more than there are frames in `MAX_UNACKNOWLEDGED_BYTES`.
 */
export const LEAP = 1 << 20;

export class Unacknowledged {
  #sent: { readonly seq: number; readonly chars: number; readonly bytes: number }[] = [];
  #bytes = 0;
  #last = 0;
  #first = true;

  get isFull(): boolean {
    return this.#bytes >= MAX_UNACKNOWLEDGED_BYTES;
  }

  /** The number for the next input. */
  get next(): number {
    return this.#last + 1;
  }

  /** Input with the number `next` was sent. */
  sent(chars: number, bytes: number): void {
    this.#sent.push({ seq: ++this.#last, chars, bytes });
    this.#bytes += bytes;
  }

  /** Input up to `seq` has reached the sandbox. */
  acknowledge(seq: number): void {
    while (this.#sent[0] !== undefined && this.#sent[0].seq <= seq) this.#bytes -= this.#sent.shift()?.bytes ?? 0;
  }

  /**
   * A connection begins, before which input up to `seq` had reached the sandbox. Forgets the rest, and returns how many UTF-16 units it
   * was: it is unknown whether they arrived.
   */
  resume(seq: number): number {
    this.acknowledge(seq);
    const unknown = this.#sent.reduce((sum, { chars }) => sum + chars, 0);
    this.forget();
    this.#last = Math.max(this.#last, seq + (this.#first && seq > 0 ? LEAP : 0));
    this.#first = false;
    return unknown;
  }

  /** Forgets what is on its way. The numbers go on. */
  forget(): void {
    this.#sent = [];
    this.#bytes = 0;
  }
}
