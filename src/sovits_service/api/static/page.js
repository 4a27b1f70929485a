// The page at /: fields in, requests to the service's own routes out, and the speech as it comes.

import { JobList } from "./jobs.js";
import { BrokenStreamError, Player, Wave, decodePcm, joined, readEvents, wavFile } from "./sound.js";
import { STRINGS } from "./strings.js";
import { Words } from "./words.js";

// ---- Languages of the page ----------------------------------------------------------------------------------------

const LANGUAGES = Object.keys(STRINGS.en.languages);

const $ = (id) => document.getElementById(id);
let language = remembered(() => localStorage.getItem("language")) ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");
if (!(language in STRINGS)) language = "en";
const t = (name) => STRINGS[language][name];

/** What a storage says; nothing where the browser keeps none. */
function remembered(read) {
  try {
    return read() || null;
  } catch {
    return null;
  }
}

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) element.ariaLabel = t(element.dataset.tLabel);
  $("switch-language").textContent = t("otherLanguage");
  $("switch-language").lang = language === "zh" ? "en" : "zh-CN";
  fillSelect($("language"), LANGUAGES.map((code) => [code, t("languages")[code]]));
  fillSelect($("prompt-language"), LANGUAGES.map((code) => [code, t("languages")[code]]));
  for (const setting of SETTINGS) setting.translate?.();
  showVoices();
  showStatus(status);
  showFigures();
  $("pause").textContent = t(player.isPaused ? "resume" : "pause");
  if (!speech) $("progress").textContent = t("empty");
  jobs.show();
  if (Object.values(STRINGS).some(({ sample }) => sample === $("text").value) || !$("text").value) {
    $("text").value = t("sample");
  }
  textChanged();
}

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Puts `[value, label]` pairs into a select, which keeps its value where that is still there. */
function fillSelect(select, options) {
  const { value } = select;
  select.replaceChildren(...options.map(([value, label]) => make("option", { value }, label)));
  if (options.some(([known]) => known === value)) select.value = value;
}

// ---- Requests ------------------------------------------------------------------------------------------------------

/** A failed request; the message is for the reader. */
class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const KEY_NAME = "api-key"; // a storage has a method `key`
const key = () => remembered(() => sessionStorage.getItem(KEY_NAME));

/** Sends a request to this service, with the key if there is one; a Failure unless it succeeds. */
async function send(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    watchStatus();
    throw new Failure(t("unreachable"));
  }
  if (answer.ok) return answer;
  if (answer.status === 503) watchStatus();
  const failure = await describe(answer);
  if (answer.status === 401) askForKey(key() ? failure.message : "");
  throw failure;
}

async function describe(answer) {
  const body = await answer.json().catch(() => ({}));
  const reason = [body.message, body.Exception].filter(Boolean).join(": ");
  const lead = t("failures")[answer.status] ?? `${t("failures").other} (${answer.status})`;
  const wait = answer.headers.get("Retry-After");
  const parts = [reason ? `${lead}: ${reason}${/[.!?。]$/.test(reason) ? "" : "."}` : `${lead}.`];
  if (wait) parts.push(t("tryAgain")(wait));
  return new Failure(parts.join(" "), answer.status);
}

let status = "waiting";
let watching = false;

function showStatus(next) {
  status = next;
  $("status").dataset.state = next;
  $("status").textContent = t(next);
}

/** Asks until the service is ready, then for its voices. */
async function watchStatus() {
  if (watching) return;
  watching = true;
  for (;;) {
    const code = await fetch("ready", { cache: "no-store" }).then((answer) => answer.status, () => 0);
    showStatus(code === 200 ? "ready" : code ? "loading" : "offline");
    if (code === 200) break;
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  watching = false;
  if (!voices.length) await loadVoices();
}

const player = new Player();
const wave = new Wave($("wave"));
const words = new Words($("words"));
const jobs = new JobList({ $, t, make, fillSelect, send, requestFields, save });

// ---- Speech --------------------------------------------------------------------------------------------------------

const USUAL_RATE_HZ = 32000;

let speech = null; // the one that is made or has been made last

/** Says what the form asks for. */
async function speak() {
  stop();
  const current = {
    abort: new AbortController(), startedAt: performance.now(), pieces: [], duration: 0, rate: 0, isMade: false, isStopped: false,
  };
  speech = current;
  wave.clear();
  $("error").textContent = "";
  $("warnings").replaceChildren();
  $("progress").textContent = t("making");
  showFigures();
  const fields = requestFields();
  words.show(fields.text);
  try {
    player.open(player.rate || USUAL_RATE_HZ);
    enableButtons();
    const answer = await send("tts", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ streaming_mode: 3, ...fields, media_type: "raw", timestamps: "word" }),
      signal: current.abort.signal,
    });
    current.rate = Number(answer.headers.get("X-Sample-Rate"));
    current.seed = answer.headers.get("X-Seed");
    if (player.rate !== current.rate) player.open(current.rate);
    showWarnings(answer);
    await receive(current, answer);
  } catch (error) {
    if (current !== speech || error.name === "AbortError") return;
    $("error").textContent = describeError(error);
    $("progress").textContent = "";
  }
  current.isMade = true;
  showFigures();
  enableButtons();
}

function describeError(error) {
  if (error instanceof BrokenStreamError) return t("broken");
  return error instanceof Failure ? error.message : `${t("noSound")} ${error.message}`;
}

async function receive(current, answer) {
  for await (const [name, content] of readEvents(answer.body)) {
    if (current.isStopped) return;
    if (name === "words") words.add(content.words);
    if (name !== "audio") continue;
    const samples = decodePcm(content.audio);
    const wait = player.push(samples, current.rate);
    if (!current.pieces.length) {
      current.firstSound = (performance.now() - current.startedAt) / 1000 + wait;
      $("progress").textContent = t("speaking");
      requestAnimationFrame(follow);
    }
    current.pieces.push(samples);
    current.duration = player.duration;
    wave.add(samples, current.rate);
    showFigures();
    enableButtons();
  }
  current.rtf = (performance.now() - current.startedAt) / 1000 / current.duration;
}

function showWarnings(answer) {
  const warnings = (answer.headers.get("X-Warnings") ?? "").split("; ").filter(Boolean);
  const dropped = Number(answer.headers.get("X-Dropped-Characters"));
  if (dropped) warnings.push(t("dropped")(dropped));
  $("warnings").replaceChildren(...warnings.map((warning) => make("li", {}, warning)));
}

/** Draws as the speech is heard. */
function follow() {
  drawWave();
  if (!speech?.pieces.length || speech.isStopped) return;
  words.light(player.position);
  if (speech.isMade && player.isOver) {
    words.finish();
    if (!$("error").textContent) $("progress").textContent = t("played");
    enableButtons();
    return;
  }
  requestAnimationFrame(follow);
}

/** While more may come, the drawing has room that is doubled when it is full, so that it stays calm. */
function drawWave() {
  const duration = speech?.duration ?? 0;
  let extent = 4;
  while (extent < duration) extent *= 2;
  const position = speech?.isStopped ? 0 : player.isOver ? duration : player.position;
  wave.draw(position, speech?.isMade && duration ? duration : extent);
}

function stop() {
  if (!speech) return;
  const wasGoing = !speech.isMade || !player.isOver;
  speech.isStopped = speech.isMade = true;
  speech.abort.abort();
  player.stop();
  words.rewind();
  if (wasGoing) $("progress").textContent = t("stopped");
  drawWave();
  enableButtons();
}

function playAgain() {
  player.open(speech.rate);
  speech.isStopped = false;
  words.rewind();
  player.push(joined(speech.pieces, speech.duration * speech.rate), speech.rate);
  $("progress").textContent = t("speaking");
  requestAnimationFrame(follow);
  enableButtons();
}

function enableButtons() {
  const isGoing = Boolean(speech) && !speech.isStopped && (!speech.isMade || !player.isOver);
  const hasSpeech = Boolean(speech?.pieces.length);
  enable($("stop"), isGoing, $("speak"));
  enable($("pause"), isGoing && hasSpeech, $("again"));
  enable($("again"), hasSpeech && speech.isMade, $("speak"));
  enable($("download"), hasSpeech && speech.isMade, $("speak"));
  $("pause").textContent = t(player.isPaused ? "resume" : "pause");
}

/** A button that is disabled passes the focus on, so that a keyboard does not lose its place. */
function enable(button, isEnabled, next) {
  const hadFocus = button === document.activeElement;
  button.disabled = !isEnabled;
  if (hadFocus && !isEnabled) next.focus();
}

function showFigures() {
  const figures = [];
  if (speech?.firstSound) figures.push([t("firstSound"), `${speech.firstSound.toFixed(2)} s`]);
  if (speech?.duration) figures.push([t("duration"), `${speech.duration.toFixed(1)} s`]);
  if (speech?.rtf) figures.push([t("rtf"), speech.rtf.toFixed(2), t("rtfTitle")]);
  if (speech?.seed) figures.push([t("seed"), speech.seed]);
  $("figures").replaceChildren(
    ...figures.map(([name, value, title = ""]) => make("div", { title }, make("dt", {}, name), make("dd", {}, value))),
  );
}

/** Has the browser download a blob. */
function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// ---- The form ------------------------------------------------------------------------------------------------------

let voices = [];
const OWN_CLIP = ""; // no voice has an empty id

/** The folded settings; what is left as it is, is not sent, so that the voice's own defaults hold. */
const SETTINGS = [
  choice("streaming_mode", [["3", "mode3"], ["2", "mode2"], ["1", "mode1"]]),
  choice("text_split_method", ["cut5", "cut0", "cut1", "cut2", "cut3", "cut4"].map((name) => [name, name])),
  number("fragment_interval", "0.3", { min: 0, max: 10, step: 0.1 }),
  number("temperature", "1", { min: 0, max: 10, step: 0.05 }),
  number("top_k", "15", { min: -1, max: 1024, step: 1 }),
  number("top_p", "1", { min: 0, max: 1, step: 0.05 }),
  number("repetition_penalty", "1.35", { min: 0.05, max: 10, step: 0.05 }),
  number("sample_steps", "32", { min: 1, max: 200, step: 1 }),
  number("seed", "", { min: -1, step: 1 }, "seedField"),
];

function choice(name, options) {
  const select = make("select", { id: name });
  const label = make("label", { htmlFor: name });
  const usual = options[0][0];
  $("more").append(make("div", { className: "field" }, label, select));
  return {
    name,
    reset: (value = usual) => (select.value = value),
    value: (defaults) => (select.value === String(defaults[name] ?? usual) ? undefined : select.value),
    translate: () => {
      label.textContent = t(name);
      fillSelect(select, options.map(([value, title]) => [value, t(title)]));
    },
  };
}

function number(name, usual, limits, title = name) {
  const input = make("input", { type: "number", id: name, inputMode: "decimal", ...limits });
  const label = make("label", { htmlFor: name });
  $("more").append(make("div", { className: "field" }, label, input));
  let shown = usual;
  const translate = () => {
    label.textContent = t(title);
    input.placeholder = shown || t("random");
  };
  return {
    name,
    reset: (value = usual) => {
      shown = String(value);
      translate();
    },
    value: () => (input.value === "" ? undefined : Number(input.value)),
    translate,
  };
}

const chosenVoice = () => voices.find(({ voice_id }) => voice_id === $("voice").value);

/** The fields of /tts that the form asks for, but for how the answer is to come. */
function requestFields() {
  const voice = chosenVoice();
  const defaults = voice?.defaults ?? {};
  const fields = { text: $("text").value, text_lang: $("language").value };
  if (voice) fields.voice_id = voice.voice_id;
  if (voice && $("emotion").value) fields.emotion = $("emotion").value;
  if (!voice && clip) {
    fields.ref_audio_path = clip.path;
    if ($("prompt").value.trim()) {
      fields.prompt_text = $("prompt").value.trim();
      fields.prompt_lang = $("prompt-language").value;
    }
  }
  const speed = Number($("speed").value);
  if (speed !== (defaults.speed_factor ?? 1)) fields.speed_factor = speed;
  for (const setting of SETTINGS) {
    const value = setting.value(defaults);
    if (value !== undefined) fields[setting.name] = value;
  }
  return fields;
}

function showCurl() {
  const { streaming_mode, ...fields } = requestFields();
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl ${quoted(new URL("tts", document.baseURI).href)}`, "-H 'Content-Type: application/json'"];
  if (key()) lines.push('-H "Authorization: Bearer $KEY"');
  lines.push(`-d ${quoted(JSON.stringify(fields))}`, "-o speech.wav");
  $("curl").textContent = lines.join(" \\\n  ");
}

async function copyCurl() {
  const { copied, copyFailed } = STRINGS[language];
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    $("copied").textContent = copied;
  } catch {
    getSelection().selectAllChildren($("curl"));
    $("copied").textContent = copyFailed;
  }
}

function textChanged() {
  $("count").textContent = t("characters")([...$("text").value].length);
  showCurl();
}

async function loadVoices() {
  try {
    const answer = await send("voices");
    voices = (await answer.json()).voices;
  } catch (error) {
    $("error").textContent = error.message;
    return;
  }
  showVoices();
  const spoken = voices.find(({ prompt_lang }) => prompt_lang.endsWith(language));
  if (spoken && !clip) $("voice").value = spoken.voice_id;
  voiceChanged();
  jobs.refresh();
}

function showVoices() {
  const options = voices.map(({ voice_id }) => [voice_id, voice_id]);
  if (clip) options.unshift([OWN_CLIP, `${t("ownClip")}: ${clip.name}`]);
  fillSelect($("voice"), options);
  showVoice();
}

/** What belongs to the voice: its description and its emotions. */
function showVoice() {
  const voice = chosenVoice();
  $("voice-about").textContent = voice?.description ?? (voices.length || status !== "ready" || clip ? "" : t("noVoices"));
  const emotions = Object.keys(voice?.emotions ?? {});
  fillSelect($("emotion"), [["", t("asUsual")], ...emotions.map((name) => [name, name])]);
  $("emotion-field").hidden = !emotions.length;
  showCurl();
}

function voiceChanged() {
  const defaults = chosenVoice()?.defaults ?? {};
  $("emotion").value = "";
  $("language").value = defaults.text_lang ?? "auto";
  $("speed").value = defaults.speed_factor ?? 1;
  for (const setting of SETTINGS) setting.reset(defaults[setting.name]);
  speedChanged();
  showVoice();
}

function speedChanged() {
  $("speed-shown").textContent = `${Number($("speed").value).toFixed(2)}×`;
  $("speed").ariaValueText = $("speed-shown").textContent;
  showCurl();
}

// ---- A clip of one's own -------------------------------------------------------------------------------------------

const LONGEST_S = 9.9;
const RECORDING = { echoCancellation: false, noiseSuppression: false, autoGainControl: true, channelCount: 1 };

let clip = null; // what the service answered to the upload, and its name
let recorder = null;

async function upload(file, name) {
  $("clip-error").textContent = "";
  $("clip-status").textContent = t("uploading");
  const form = new FormData();
  form.append("file", file, "clip");
  form.append("trim", "true");
  try {
    const answer = await send("upload_ref", { method: "POST", body: form });
    clip = { ...(await answer.json()), name };
  } catch (error) {
    $("clip-status").textContent = "";
    $("clip-error").textContent = error.message;
    return;
  }
  $("clip-status").textContent = t("uploaded");
  $("clip-name").textContent = name;
  $("clip-duration").textContent = `${clip.duration_s.toFixed(1)} s`;
  $("clip-warnings").replaceChildren(...clip.warnings.map((warning) => make("li", {}, warning)));
  URL.revokeObjectURL($("clip-audio").src);
  $("clip-audio").src = URL.createObjectURL(file);
  $("prompt").value = "";
  $("prompt-language").value = language;
  $("clip").hidden = false;
  showVoices();
  $("voice").value = OWN_CLIP;
  voiceChanged();
  $("prompt").focus();
}

function removeClip() {
  URL.revokeObjectURL($("clip-audio").src);
  $("clip-audio").removeAttribute("src");
  clip = null;
  $("clip").hidden = true;
  $("clip-status").textContent = "";
  showVoices();
  voiceChanged();
  $("choose").focus();
}

async function record() {
  $("clip-error").textContent = "";
  if (!navigator.mediaDevices?.getUserMedia) {
    $("clip-error").textContent = t("cannotRecord");
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: RECORDING });
    recorder = new MediaRecorder(stream, { audioBitsPerSecond: 128_000 });
  } catch (error) {
    const known = { NotAllowedError: "microphoneRefused", NotFoundError: "noMicrophone" }[error.name];
    $("clip-error").textContent = known ? t(known) : `${t("recordFailed")} ${error.message}`;
    return;
  }
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    for (const track of stream.getTracks()) track.stop();
    $("recording").hidden = true;
    $("clip-source").hidden = false;
    upload(new Blob(parts, { type: recorder.mimeType }), t("recordingName"));
  };
  recorder.onstart = () => showRecording(stream, performance.now());
  recorder.start();
  $("clip-status").textContent = t("recordingStarted");
  $("recording").hidden = false;
  $("clip-source").hidden = true;
  $("recording-time").textContent = "";
  $("record-stop").focus();
}

/** Shows time and level of the recording, and ends it before it is too long. */
function showRecording(stream, startedAt) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    const seconds = (performance.now() - startedAt) / 1000;
    if (seconds >= LONGEST_S && recorder.state === "recording") recorder.stop();
    if (recorder.state !== "recording") {
      clearInterval(timer);
      context.close();
      return;
    }
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    $("level").firstElementChild.style.transform = `scaleX(${Math.min(1, peak)})`;
    $("recording-time").textContent = `${seconds.toFixed(1)} s`;
  }, 50);
}

// ---- The key -------------------------------------------------------------------------------------------------------

function askForKey(problem = "") {
  $("key-error").textContent = problem;
  $("key").value = key() ?? "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
  $("key").focus();
}

function setKey(value) {
  try {
    value ? sessionStorage.setItem(KEY_NAME, value) : sessionStorage.removeItem(KEY_NAME);
  } catch (error) {
    $("key-error").textContent = error.message;
    return;
  }
  $("key-dialog").close();
  $("error").textContent = "";
  showCurl();
  loadVoices();
}

// ---- Events --------------------------------------------------------------------------------------------------------

function listen() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    speak();
  });
  $("form").addEventListener("input", textChanged);
  $("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !$("key-dialog").open && !$("stop").disabled) stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("key-dialog").open) speak();
  });
  $("speed").addEventListener("input", speedChanged);
  $("voice").addEventListener("change", voiceChanged);
  $("emotion").addEventListener("change", showCurl);
  $("prompt").addEventListener("input", showCurl);
  $("prompt-language").addEventListener("change", showCurl);

  $("pause").addEventListener("click", () => {
    player.togglePause();
    enableButtons();
  });
  $("again").addEventListener("click", playAgain);
  $("download").addEventListener("click", () => save(wavFile(speech), "speech.wav"));
  $("copy").addEventListener("click", copyCurl);
  new ResizeObserver(drawWave).observe($("wave"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawWave);

  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) upload(file, file.name);
    $("file").value = "";
  });
  $("record").addEventListener("click", record);
  $("record-stop").addEventListener("click", () => recorder.stop());
  $("clip-remove").addEventListener("click", removeClip);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    $("voice-card").addEventListener(kind, (event) => {
      event.preventDefault();
      $("voice-card").classList.toggle("drop", kind === "dragover");
      const [file] = (kind === "drop" && event.dataTransfer.files) || [];
      if (file) upload(file, file.name);
    });
  }

  $("open-key").addEventListener("click", () => askForKey());
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value.trim());
  });
  $("key-forget").addEventListener("click", () => setKey(""));
  $("key-cancel").addEventListener("click", () => $("key-dialog").close());
  $("switch-language").addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    remembered(() => localStorage.setItem("language", language));
    translate();
  });
}

translate();
voiceChanged();
listen();
watchStatus();
