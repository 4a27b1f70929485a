// OpenAI's client for JavaScript: a file, and events.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none" });
const asked = { model: "gpt-sovits", voice: "female_calm", input: "Hello there." };
const answer = await client.audio.speech.create({ ...asked, response_format: "wav" });
const wav = Buffer.from(await answer.arrayBuffer());
if (wav.toString("latin1", 0, 4) !== "RIFF" || wav.length < 20000) throw new Error(`${wav.length} bytes`);
const events = await client.audio.speech.create({ ...asked, response_format: "pcm", stream_format: "sse" });
const parsed = (await events.text()).trim().split("\n\n").map((event) => JSON.parse(event.slice("data: ".length)));
if (parsed.at(-1).type !== "speech.audio.done" || parsed.length < 2) throw new Error("no events");
const models = await client.models.list();
if (models.data[0].id !== "gpt-sovits") throw new Error("no model");
console.log(wav.length, parsed.length);
