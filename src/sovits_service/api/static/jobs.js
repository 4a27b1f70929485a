// Long texts: files in, the jobs with their progress, their audio out.

const FORMATS = ["mp3", "m4b", "opus", "wav", "zip"];
const POLL_MS = 1500;

/** The list of jobs; `page` has what it shares with the page: $, t, make, fillSelect, send, requestFields, save. */
export class JobList {
  #page;
  #jobs = [];
  #rows = new Map();
  #timer = 0;

  constructor(page) {
    this.#page = page;
    const { $, fillSelect } = page;
    fillSelect($("job-format"), FORMATS.map((name) => [name, name]));
    $("job-choose").addEventListener("click", () => $("job-file").click());
    $("job-file").addEventListener("change", () => {
      const [file] = $("job-file").files;
      if (file) this.#try(() => this.#submit(file));
      $("job-file").value = "";
    });
  }

  /** Asks for the jobs, and goes on asking while one is not over, also through failures. */
  async refresh() {
    const { $, send } = this.#page;
    if ($("jobs-card").hidden) return; // the service has none
    const error = await this.#try(async () => {
      this.#jobs = (await (await send("jobs")).json()).jobs;
      this.show();
    }, true);
    clearTimeout(this.#timer);
    const isGoing = error?.status !== 401 && this.#jobs.some(({ finished_at }) => !finished_at);
    if (isGoing) this.#timer = setTimeout(() => this.refresh(), POLL_MS);
  }

  /** Shows what is known, in the page's language. Rows stay, so that a keyboard does not lose its place. */
  show() {
    for (const [id, { row }] of this.#rows) {
      if (this.#jobs.some((job) => job.id === id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    this.#jobs.forEach((job, place) => this.#showJob(job, place));
  }

  #showJob(job, place) {
    const { $, t } = this.#page;
    if (!this.#rows.has(job.id)) this.#rows.set(job.id, this.#newRow(job));
    const { row, bar, about, get, remove } = this.#rows.get(job.id);
    if ($("jobs").children[place] !== row) $("jobs").insertBefore(row, $("jobs").children[place] ?? null);
    const isDone = job.status === "done";
    const parts = [t("jobStates")[job.status]];
    if (job.status === "running") parts.push(`${Math.floor(job.progress * 100)} %`);
    if (job.remaining_s !== null) parts.push(t("left")(clock(job.remaining_s)));
    if (isDone) parts.push(clock(job.duration_s));
    if (job.failed && isDone) parts.push(t("leftOut")(job.failed));
    if (job.message) parts.push(job.message);
    about.textContent = parts.join(" · ");
    bar.value = job.progress;
    bar.hidden = Boolean(job.finished_at);
    get.hidden = !isDone;
    get.textContent = t("download");
    remove.textContent = t("remove");
  }

  #newRow({ id, title, format }) {
    const { make, send, save } = this.#page;
    const name = make("strong", { id: `job-${id}` }, title || id);
    const button = (action) => {
      const made = make("button", { type: "button", onclick: () => this.#try(action) });
      made.setAttribute("aria-describedby", name.id);
      return made;
    };
    const bar = make("progress", { max: 1, ariaLabel: title || id });
    const about = make("p", { className: "hint" });
    const get = button(async () => save(await (await send(`jobs/${id}/audio`)).blob(), `${title || id}.${format}`));
    const remove = button(async () => {
      await send(`jobs/${id}`, { method: "DELETE" });
      this.#page.$("job-choose").focus();
      this.refresh();
    });
    return { row: make("li", {}, name, bar, about, make("div", { className: "buttons" }, get, remove)), bar, about, get, remove };
  }

  async #submit(file) {
    const { $, send, requestFields } = this.#page;
    const { text, streaming_mode, ...fields } = requestFields();
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...fields, format: $("job-format").value })) form.append(name, value);
    form.append("file", file);
    await send("jobs", { method: "POST", body: form });
    this.refresh();
  }

  async #try(work, isPoll = false) {
    if (!isPoll) this.#page.$("jobs-error").textContent = "";
    try {
      await work();
    } catch (error) {
      this.#page.$("jobs-error").textContent = error.message;
      return error;
    }
  }
}

function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
