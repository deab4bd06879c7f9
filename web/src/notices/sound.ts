/** The sound of the bell. */

/** Bells that follow each other faster than this sound as one, in milliseconds. */
const EVERY_MS = 200;

let audio: AudioContext | undefined;
let last = Number.NEGATIVE_INFINITY;

/** Plays a short tone. The browser allows that only after the person has done something in the page. */
export function beep(): void {
  const now = performance.now();
  if (now - last < EVERY_MS || navigator.userActivation?.hasBeenActive === false) return;
  last = now;
  audio ??= new AudioContext();
  const [tone, volume, begin] = [audio.createOscillator(), audio.createGain(), audio.currentTime];
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.12, begin);
  volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.15);
  tone.connect(volume).connect(audio.destination);
  tone.start(begin);
  tone.stop(begin + 0.15);
}
