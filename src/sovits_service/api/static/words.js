// The text that is said, with each word lit while it is heard.

/** Words come a fragment at a time, in the order of the text. Where none come, the text stands as it is. */
export class Words {
  #element;
  #text = []; // code points, which the service counts in
  #placed = 0; // code points that have their elements
  #rest = document.createTextNode("");
  #words = [];
  #begun = 0;

  constructor(element) {
    this.#element = element;
  }

  /** Shows a text of which nothing has been said. */
  show(text) {
    this.#text = [...text];
    this.#placed = this.#begun = 0;
    this.#words = [];
    this.#rest.data = text;
    this.#element.replaceChildren(this.#rest);
    this.#element.classList.remove("timed");
    this.#element.scrollTop = 0;
    this.#letScroll();
  }

  /** Takes words as the service tells them: `start` and `end` in the text, `start_s` and `end_s` in the speech. */
  add(words) {
    for (const { start, end, start_s, end_s } of words) {
      if (end <= this.#placed) continue;
      const from = Math.max(start, this.#placed);
      const gap = this.#piece(this.#placed, from);
      const word = this.#piece(from, end);
      this.#rest.before(gap, word);
      this.#words.push({ gap, word, start_s, end_s });
      this.#placed = end;
    }
    this.#rest.data = this.#text.slice(this.#placed).join("");
    this.#element.classList.toggle("timed", this.#words.length > 0);
  }

  /** Lights what is heard at a second of the speech. */
  light(position) {
    const words = this.#words;
    let begun = this.#begun;
    while (begun < words.length && words[begun].start_s <= position) this.#say(words[begun++], true);
    while (begun > 0 && words[begun - 1].start_s > position) this.#say(words[--begun], false);
    if (begun !== this.#begun) {
      words[this.#begun - 1]?.word.classList.remove("now");
      this.#begun = begun;
    }
    const last = words[begun - 1];
    if (!last) return;
    const isHeard = position < last.end_s;
    if (isHeard && !last.word.classList.contains("now")) this.#bringIntoView(last.word);
    last.word.classList.toggle("now", isHeard);
  }

  /** All of it has been said. */
  finish() {
    this.light(Infinity);
    this.#element.classList.remove("timed");
  }

  /** None of it has been said, as before the first sound. */
  rewind() {
    this.light(-1);
    this.#element.classList.toggle("timed", this.#words.length > 0);
  }

  #piece(start, end) {
    const piece = document.createElement("span");
    piece.textContent = this.#text.slice(start, end).join("");
    return piece;
  }

  #say({ gap, word }, isSaid) {
    gap.classList.toggle("said", isSaid);
    word.classList.toggle("said", isSaid);
  }

  #bringIntoView(word) {
    const [frame, box] = [this.#element.getBoundingClientRect(), word.getBoundingClientRect()];
    if (box.top < frame.top || box.bottom > frame.bottom) this.#element.scrollTop += box.top - frame.top - frame.height / 3;
  }

  /** What can be scrolled can be reached with a keyboard. */
  #letScroll() {
    const isLonger = this.#element.scrollHeight > this.#element.clientHeight;
    isLonger ? (this.#element.tabIndex = 0) : this.#element.removeAttribute("tabindex");
  }
}
