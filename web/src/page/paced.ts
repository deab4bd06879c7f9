/** Limits how often something is done that programs can cause thousands of times a second. Knows nothing of what is done. */

/**
 * A function that calls `run` at most once in `everyMs` milliseconds: at once if the last call is that long ago, else when the time is over.
 * Of the values that came in between, `run` gets the newest.
 */
export function paced<T extends readonly unknown[]>(everyMs: number, run: (...values: T) => void): (...values: T) => void {
  let waiting: T | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pause = () => {
    timer = setTimeout(() => {
      timer = undefined;
      if (waiting === undefined) return;
      const values = waiting;
      waiting = undefined;
      pause();
      run(...values);
    }, everyMs);
  };
  return (...values) => {
    if (timer !== undefined) return void (waiting = values);
    pause();
    run(...values);
  };
}
