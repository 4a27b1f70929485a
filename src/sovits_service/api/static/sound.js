// Speech in the browser: how it comes in, is played, drawn, and put into a file.

const LEAD_S = 0.05; // before the first piece, so that it is there when its time comes
const REFILL_S = 0.25; // where a piece came too late

/** Plays pieces one after the other as they come, and tells which second of the speech is heard. */
export class Player {
  #context = null;
  #pieces = [];
  #next = 0;
  duration = 0;
  isPaused = false;

  /** To be called in a click, as browsers ask for. The rate is that of the pieces, so that none is resampled alone. */
  open(rate) {
    this.stop();
    if (this.#context?.sampleRate !== rate) {
      this.#context?.close();
      this.#context = new AudioContext({ sampleRate: rate });
    }
    this.#context.resume();
  }

  /** Takes a piece; returns in how many seconds it will be heard. */
  push(samples, rate) {
    const context = this.#context;
    const buffer = context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(samples, 0);
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    if (this.#next < context.currentTime) this.#next = context.currentTime + (this.#pieces.length ? REFILL_S : LEAD_S);
    source.start(this.#next);
    const wait = this.#next - context.currentTime;
    this.#pieces.push({ source, at: this.#next, from: this.duration, length: buffer.duration });
    this.#next += buffer.duration;
    this.duration += buffer.duration;
    return wait;
  }

  get rate() {
    return this.#context?.sampleRate ?? 0;
  }

  /** Seconds of the speech that have been heard. */
  get position() {
    if (!this.#pieces.length) return 0;
    const now = this.#context.currentTime - (this.#context.outputLatency || 0);
    const piece = this.#pieces.findLast(({ at }) => at <= now);
    return piece ? piece.from + Math.min(piece.length, now - piece.at) : 0;
  }

  get isOver() {
    return !this.#pieces.length || this.#context.currentTime >= this.#next + (this.#context.outputLatency || 0);
  }

  togglePause() {
    this.isPaused = !this.isPaused;
    this.isPaused ? this.#context.suspend() : this.#context.resume();
  }

  stop() {
    for (const { source } of this.#pieces) source.stop();
    this.#pieces = [];
    this.#next = this.duration = 0;
    this.isPaused = false;
  }
}

const PEAK_S = 0.02; // of speech, for each stored peak
const BAR_PX = 3;
const GAP_PX = 2;

/** A drawing of the loudness, with what has been heard in another colour. */
export class Wave {
  #peaks = [];
  #left = { count: 0, peak: 0 };

  constructor(canvas) {
    this.canvas = canvas;
  }

  clear() {
    this.#peaks = [];
    this.#left = { count: 0, peak: 0 };
  }

  add(samples, rate) {
    const size = Math.round(rate * PEAK_S);
    for (const sample of samples) {
      this.#left.peak = Math.max(this.#left.peak, Math.abs(sample));
      if (++this.#left.count === size) {
        this.#peaks.push(this.#left.peak);
        this.#left = { count: 0, peak: 0 };
      }
    }
  }

  /** Draws the first `extent` seconds, `position` of them as heard. */
  draw(position, extent) {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const [heard, coming, none] = ["--accent", "--faint", "--line"].map((name) => style.getPropertyValue(name));
    const bars = Math.max(1, Math.floor(width / (BAR_PX + GAP_PX)));
    const loudest = this.#peaks.reduce((most, peak) => Math.max(most, peak), 0.2);
    for (let bar = 0; bar < bars; bar++) {
      const [start, end] = [bar, bar + 1].map((edge) => Math.floor(((edge / bars) * extent) / PEAK_S));
      const peaks = this.#peaks.slice(start, Math.max(end, start + 1));
      const size = Math.max(BAR_PX, (Math.max(0, ...peaks) / loudest) * height);
      context.fillStyle = !peaks.length ? none : (bar / bars) * extent < position ? heard : coming;
      context.beginPath();
      context.roundRect(bar * (BAR_PX + GAP_PX), (height - size) / 2, BAR_PX, size, BAR_PX / 2);
      context.fill();
    }
  }
}

/** The connection ended before the speech did. */
export class BrokenStreamError extends Error {}

/** The server-sent events of an answer, as `[name, content]`; a BrokenStreamError where they end before `done`. */
export async function* readEvents(body) {
  let text = "";
  const decoder = new TextDecoder();
  const reader = body.getReader(); // not every browser lets a loop go through a body
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new BrokenStreamError();
    });
    if (done) throw new BrokenStreamError();
    const events = (text + decoder.decode(value, { stream: true })).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, content] = event.match(/^event: (.*)\ndata: (.*)$/);
      if (name === "done") return;
      yield [name, JSON.parse(content)];
    }
  }
}

/** Samples from -1 to 1 of 16-bit PCM in base64. */
export function decodePcm(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, index) => view.getInt16(2 * index, true) / 32768);
}

export function joined(pieces, count) {
  const samples = new Float32Array(Math.round(count));
  let at = 0;
  for (const piece of pieces) {
    samples.set(piece, at);
    at += piece.length;
  }
  return samples;
}

/** A wav file of 16-bit samples, as the service makes it. */
export function wavFile({ pieces, rate }) {
  const count = pieces.reduce((sum, { length }) => sum + length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, letters) => [...letters].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const piece of pieces) for (const sample of piece) {
    view.setInt16(at, Math.round(sample * 32768), true);
    at += 2;
  }
  return new Blob([view], { type: "audio/wav" });
}
