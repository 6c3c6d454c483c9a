// Plays a video on the page in a real Chromium, as a person would, and reports what happened.
//
//   node web/test/play.mjs --server URL --email E --password P --screenshots DIR
//        (--video videos/ID | --upload FILE) [--sign-up] [--rate N] [--levels N] [--early] [--seconds N]
//
// With --early it is played as soon as it can be, while it is still PROCESSING: it seeks inside what is ready, plays on
// while more arrives, and then must end READY with all rungs. --levels says how many rungs hls.js is to have in the end,
// --seconds how long all of it may take (120).
//
// Prints one line of JSON. Exit codes: 0 it played to the end, 1 it did not, 2 usage.
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { FLAGS, findBrowser, isThere } from "./browser.mjs";

const TOTAL_SECONDS = 120;
/** The last of them are for a picture of what went wrong. */
const SPARE_MILLIS = 5000;
/** How far the end of playback may lie from the stated duration, seconds. */
const END_TOLERANCE = 0.5;
/** What is left to play once a video that was played early is READY, seconds. */
const LAST_SECONDS = 6;
/** Further than this a seek must land from the first segment's end, lest it shows nothing, seconds. */
const WORTH_SEEKING = 12;

const left = () => Math.max(1, deadline - Date.now());

function usage(message) {
  console.error(`play.mjs: ${message}`);
  process.exit(2);
}

function readArguments() {
  const text = { type: "string" };
  const options = {
    server: text,
    email: text,
    password: text,
    video: text,
    upload: text,
    screenshots: text,
    rate: text,
    levels: text,
    seconds: text,
    early: { type: "boolean" },
    "sign-up": { type: "boolean" },
  };
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    usage(error.message);
  }
  for (const needed of ["server", "email", "password", "screenshots"]) {
    if (!values[needed]) usage(`--${needed} is missing`);
  }
  if (values.early && !values.levels) usage("--early needs --levels");
  if (!values.video && !values.upload) usage("--video or --upload is missing");
  if (values.rate && !(Number(values.rate) > 0 && Number(values.rate) <= 4)) usage("--rate is above 0 and at most 4");
  for (const number of ["levels", "seconds"]) {
    if (values[number] && !(Number(values[number]) > 0)) usage(`--${number} is a number above 0`);
  }
  return values;
}

/** Collects what a healthy page never does. */
function watchForTrouble(page, origin, trouble) {
  page.on("console", (message) => {
    if (message.type() === "error") trouble.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => trouble.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (/^https?:/.test(url) && new URL(url).origin !== origin && request.resourceType() !== "xhr") {
      trouble.push(`request to another host: ${url}`);
    }
  });
}

async function signIn(page, options, shot) {
  await page.getByTestId("email").fill(options.email, { timeout: left() });
  await page.getByTestId("password").fill(options.password);
  await shot("sign-in");
  await page.getByTestId(options["sign-up"] ? "sign-up" : "sign-in").click();
  await orError(page, page.getByTestId("sign-out").waitFor({ timeout: left() }), "sign in");
  await orError(page, page.locator("#live[data-link=live]").waitFor({ timeout: left() }), "list videos");
}

/** Waits for `wanted`; an error that the page shows meanwhile ends the wait with its text. */
async function orError(page, wanted, what) {
  const alert = page.getByTestId("error");
  const said = async () => {
    throw new Error(`can't ${what}: the page says: ${await alert.textContent()}`);
  };
  // That the page said nothing in all the time is no news: what was wanted then tells why it did not come.
  const failure = alert.waitFor({ timeout: left() }).then(said, () => new Promise(() => {}));
  failure.catch(() => {});
  const told = wanted.catch((error) => {
    throw new Error(`can't ${what}: ${error.message.split("\n")[0]}`);
  });
  await Promise.race([told, failure]);
}

async function uploadFile(page, file, shot) {
  const before = await page.getByTestId("video").evaluateAll((all) => all.map((one) => one.dataset.name));
  await page.getByTestId("file").setInputFiles(file);
  const added = page.waitForFunction(
    (known) => {
      const cards = [...document.querySelectorAll("[data-testid=video]")];
      return cards.map((card) => card.dataset.name).find((name) => !known.includes(name));
    },
    before,
    { timeout: left() },
  );
  await orError(page, added, "upload");
  const name = await (await added).jsonValue();
  await shot("uploading");
  return name;
}

function cardOf(page, name) {
  return page.locator(`[data-testid=video][data-name=${JSON.stringify(name)}]`);
}

async function waitUntilReady(page, name) {
  const card = cardOf(page, name);
  await orError(page, card.waitFor({ timeout: left() }), `find ${name}`);
  const states = [];
  for (;;) {
    const state = await card.getAttribute("data-state", { timeout: left() });
    if (states.at(-1) !== state) states.push(state);
    if (state === "READY") return states;
    if (state === "FAILED") throw new Error(`${name} failed: ${await card.getByTestId("failure").textContent()}`);
    const changed = page.waitForFunction(
      ([wanted, old]) => {
        const cards = [...document.querySelectorAll("[data-testid=video]")];
        return cards.find((one) => one.dataset.name === wanted)?.dataset.state !== old;
      },
      [name, state],
      { timeout: left() },
    );
    await orError(page, changed, `get ${name} ready (it is ${state})`);
  }
}

/** Presses play and waits until pictures move. */
async function start(page, name) {
  const button = cardOf(page, name).getByTestId("play");
  await orError(page, button.click({ timeout: left() }), "press play");
  await inPlayer(page, "play", ([video]) => video.readyState >= 3 && !video.paused && video.currentTime > 0);
}

/** Waits until `holds([video, value])` is true of the player; it runs in the page. */
async function inPlayer(page, what, holds, value) {
  const video = await page.getByTestId("player").elementHandle({ timeout: left() });
  const met = page.waitForFunction(holds, [video, value], { timeout: left() });
  await orError(page, met, what).catch(async (error) => {
    const at = await page.getByTestId("player").evaluate(measure).catch(() => ({}));
    throw new Error(`${error.message.split("\n")[0]} (stood at ${at.currentTime} s of ${at.duration} s)`);
  });
}

async function playToTheEnd(page, name, rate, shot) {
  await start(page, name);
  const player = page.getByTestId("player");
  const duration = await player.evaluate((video) => video.duration);
  const speed = rate ?? (duration > 15 ? 4 : 1);
  await player.evaluate((video, value) => {
    video.playbackRate = value;
  }, speed);
  await shot("playing");
  await inPlayer(page, "play to the end", ([video]) => video.ended);
  await shot("ended");
  return { rate: speed, ...(await player.evaluate(measure)) };
}

/** Plays a video from its first segments on, while it is PROCESSING, until it is READY and at its end. */
async function playEarly(page, name, levels, shot) {
  const card = cardOf(page, name);
  const player = page.getByTestId("player");
  const ready = () => player.evaluate((video) => (video.seekable.length ? video.seekable.end(0) : 0));
  const seen = [];
  const note = async (what) => {
    const state = await card.getAttribute("data-state", { timeout: left() });
    seen.push({ what, state, ready: await ready(), ...(await player.evaluate(measure)) });
    await shot(what);
    return state;
  };
  await orError(page, card.and(page.locator("[data-playable=true]")).waitFor({ timeout: left() }), "get it playable");
  await start(page, name);
  await note("early");

  await inPlayer(
    page,
    "get more than the first segments",
    ([video, worth]) => video.seekable.length > 0 && video.seekable.end(0) >= worth,
    WORTH_SEEKING,
  );
  const end = await ready();
  const place = Math.max((await player.evaluate((video) => video.currentTime)) + 1, end - WORTH_SEEKING / 2);
  await player.evaluate((video, to) => {
    video.currentTime = to;
  }, place);
  await inPlayer(page, "seek", ([video, to]) => !video.seeking && video.currentTime > to + 0.5, place);
  await note("sought");
  // What was not there when it sought.
  await inPlayer(page, "play on while more arrives", ([video, known]) => video.currentTime > known, end);
  await note("on");

  const states = await waitUntilReady(page, name);
  await inPlayer(page, "get all rungs", ([, wanted]) => window.reelmill.levels === wanted, levels);
  await inPlayer(page, "get all of its length", ([video]) => Number.isFinite(video.duration) && !video.seeking);
  await player.evaluate((video, last) => {
    video.currentTime = Math.max(video.currentTime, video.duration - last);
  }, LAST_SECONDS);
  await inPlayer(page, "play to the end", ([video]) => video.ended);
  await shot("ended");
  return { early: seen, states, ...(await player.evaluate(measure)) };
}

/** Runs in the page. */
function measure(video) {
  const quality = video.getVideoPlaybackQuality();
  return {
    currentTime: video.currentTime,
    duration: video.duration,
    width: video.videoWidth,
    height: video.videoHeight,
    frames: quality.totalVideoFrames,
    droppedFrames: quality.droppedVideoFrames,
    hls: { ...window.reelmill },
  };
}

function check(result, levels) {
  const { playback, trouble } = result;
  const faults = [...trouble];
  for (const { what, state } of playback.early ?? []) {
    if (state !== "PROCESSING") faults.push(`it was ${state} already when this was seen: ${what}`);
  }
  if (levels && playback.hls.levels !== levels) faults.push(`${playback.hls.levels} rungs, not ${levels}`);
  if (Math.abs(playback.currentTime - playback.duration) > END_TOLERANCE) {
    faults.push(`ended at ${playback.currentTime} s of ${playback.duration} s`);
  }
  if (!(playback.duration > 0)) faults.push("the video has no length");
  if (!(playback.frames > 0 && playback.width > 0)) faults.push("no picture was decoded");
  if (playback.hls.engine !== "hls.js") faults.push(`played by ${playback.hls.engine || "nothing"}, not by hls.js`);
  if (playback.hls.fragments === 0) faults.push("hls.js buffered no fragment");
  if (playback.hls.fatalErrors > 0) faults.push(`hls.js gave up: ${playback.hls.lastError}`);
  return faults;
}

async function run(options, result) {
  await mkdir(options.screenshots, { recursive: true });
  if (options.upload && !(await isThere(options.upload))) throw new Error(`no such file: ${options.upload}`);
  const executablePath = await findBrowser();
  const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: left() });
  // Whatever hangs, the browser is gone when the time is up.
  const watchdog = setTimeout(() => void browser.close(), deadline + SPARE_MILLIS - Date.now());
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1300 } });
    watchForTrouble(page, new URL(options.server).origin, result.trouble);
    const shot = async (name) => {
      const file = path.join(options.screenshots, `${name}.png`);
      await page.screenshot({ path: file, timeout: left() });
      result.screenshots.push(file);
    };
    try {
      await page.goto(options.server, { timeout: left() });
      await signIn(page, options, shot);
      result.video = options.upload ? await uploadFile(page, options.upload, shot) : options.video;
      const levels = options.levels && Number(options.levels);
      if (options.early) {
        ({ states: result.states, ...result.playback } = await playEarly(page, result.video, levels, shot));
      } else {
        result.states = await waitUntilReady(page, result.video);
        await shot("library");
        result.playback = await playToTheEnd(page, result.video, options.rate && Number(options.rate), shot);
      }
      result.faults = check(result, levels);
    } catch (error) {
      // What the page looked like tells more than the message.
      await page.screenshot({ path: path.join(options.screenshots, "failed.png"), timeout: 3000 }).catch(() => {});
      throw error;
    }
  } finally {
    clearTimeout(watchdog);
    await browser.close();
  }
}

const options = readArguments();
const totalSeconds = Number(options.seconds ?? TOTAL_SECONDS);
const deadline = Date.now() + totalSeconds * 1000 - SPARE_MILLIS;
const result = { ok: false, video: options.video, states: [], trouble: [], screenshots: [], faults: [] };
try {
  await run(options, result);
} catch (error) {
  const late = Date.now() >= deadline ? ` (the ${totalSeconds} s are up)` : "";
  result.faults = [`${error.message.split("\n")[0]}${late}`, ...result.trouble];
}
result.ok = result.faults.length === 0;
console.log(JSON.stringify(result));
if (!result.ok) for (const fault of result.faults) console.error(`play.mjs: ${fault}`);
process.exit(result.ok ? 0 : 1);
