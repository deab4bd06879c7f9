/**
 * Input on its way: numbered and sent, and not yet known to have reached the sandbox. When a connection is lost, this input may have
 * arrived or not. Only the person can decide to type it again.
 */

/** No more input is sent while this many bytes are on their way. As much as the broker keeps for a shell that reads nothing. */
export const MAX_UNACKNOWLEDGED_BYTES = 64 * 1024;
/**
 * How many numbers a page skips after a reload. The page before may have used them for input of which the broker does not know yet. Far
 * more than there are frames in `MAX_UNACKNOWLEDGED_BYTES`.
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
   * A connection begins, and input up to `seq` has reached the sandbox. Forgets the rest, and returns how many UTF-16 units that was: it is
   * unknown whether they arrived.
   */
  resume(seq: number): number {
    this.acknowledge(seq);
    const unknown = this.#sent.reduce((sum, { chars }) => sum + chars, 0);
    this.forget();
    this.#last = Math.max(this.#last, seq + (this.#first && seq > 0 ? LEAP : 0));
    this.#first = false;
    return unknown;
  }

  /** Forgets what is on its way. The numbers continue. */
  forget(): void {
    this.#sent = [];
    this.#bytes = 0;
  }
}
