// Plays a video on the page in a real Chromium, as a user would, and reports the result.
//
//   node web/test/play.mjs --server URL --email E --password P --screenshots DIR
//        (--video videos/ID | --upload FILE) [--sign-up] [--rate N] [--levels N] [--early] [--seconds N]
//
// With --early, playback starts as soon as the video is playable, while it is still PROCESSING: seeks within the
// available part, plays on while segments are added, and must end with the video READY and all rungs loaded. --levels is
// the number of rungs that hls.js must have at the end, --seconds the time limit (default 120).
//
// Prints one line of JSON. Exit codes: 0 played to the end, 1 did not, 2 usage.
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { FLAGS, findBrowser, fileExists } from "./browser.mjs";

const DEFAULT_TIMEOUT_SECONDS = 120;
/** End of the time limit that is reserved for a screenshot of a failure. */
const SCREENSHOT_RESERVE_MILLIS = 5000;
/** Maximum difference between the end of playback and the stated duration, seconds. */
const END_TOLERANCE = 0.5;
/** With --early: how much is played at the end once the video is READY, seconds. */
const TAIL_SECONDS = 6;
/** With --early: seconds that must be available before seeking, so that the seek leaves the first segments. */
const MIN_SEEKABLE_SECONDS = 12;

const remainingMillis = () => Math.max(1, deadline - Date.now());

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

/** Collects console errors, exceptions and requests to foreign hosts: a correct page has none. */
function collectPageErrors(page, origin, pageErrors) {
  page.on("console", (message) => {
    if (message.type() === "error") pageErrors.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => pageErrors.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (/^https?:/.test(url) && new URL(url).origin !== origin && request.resourceType() !== "xhr") {
      pageErrors.push(`request to another host: ${url}`);
    }
  });
}

async function signIn(page, options, shot) {
  await page.getByTestId("email").fill(options.email, { timeout: remainingMillis() });
  await page.getByTestId("password").fill(options.password);
  await shot("sign-in");
  await page.getByTestId(options["sign-up"] ? "sign-up" : "sign-in").click();
  await orError(page, page.getByTestId("sign-out").waitFor({ timeout: remainingMillis() }), "sign in");
  await orError(page, page.locator("#connection[data-state=live]").waitFor({ timeout: remainingMillis() }), "list videos");
}

/** Waits for `wanted`, but throws if the page shows an error first. `what` names the step in the message. */
async function orError(page, wanted, what) {
  const alert = page.getByTestId("error");
  const throwAlert = async () => {
    throw new Error(`can't ${what}: the page says: ${await alert.textContent()}`);
  };
  // A timeout of this wait is ignored: the timeout of `wanted` has the better message.
  const alerted = alert.waitFor({ timeout: remainingMillis() }).then(throwAlert, () => new Promise(() => {}));
  alerted.catch(() => {});
  const described = wanted.catch((error) => {
    throw new Error(`can't ${what}: ${error.message.split("\n")[0]}`);
  });
  await Promise.race([described, alerted]);
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
    { timeout: remainingMillis() },
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
  await orError(page, card.waitFor({ timeout: remainingMillis() }), `find ${name}`);
  const states = [];
  for (;;) {
    const state = await card.getAttribute("data-state", { timeout: remainingMillis() });
    if (states.at(-1) !== state) states.push(state);
    if (state === "READY") return states;
    if (state === "FAILED") throw new Error(`${name} failed: ${await card.getByTestId("failure").textContent()}`);
    const changed = page.waitForFunction(
      ([wanted, old]) => {
        const cards = [...document.querySelectorAll("[data-testid=video]")];
        return cards.find((one) => one.dataset.name === wanted)?.dataset.state !== old;
      },
      [name, state],
      { timeout: remainingMillis() },
    );
    await orError(page, changed, `get ${name} ready (it is ${state})`);
  }
}

/** Clicks play and waits until playback advances. */
async function startPlayback(page, name) {
  const button = cardOf(page, name).getByTestId("play");
  await orError(page, button.click({ timeout: remainingMillis() }), "press play");
  await inPlayer(page, "play", ([video]) => video.readyState >= 3 && !video.paused && video.currentTime > 0);
}

/** Waits until `condition([video, value])`, which runs in the page, is true. */
async function inPlayer(page, what, condition, value) {
  const video = await page.getByTestId("player").elementHandle({ timeout: remainingMillis() });
  const met = page.waitForFunction(condition, [video, value], { timeout: remainingMillis() });
  await orError(page, met, what).catch(async (error) => {
    const state = await page.getByTestId("player").evaluate(measure).catch(() => ({}));
    throw new Error(`${error.message.split("\n")[0]} (at ${state.currentTime} s of ${state.duration} s)`);
  });
}

async function playToTheEnd(page, name, rate, shot) {
  await startPlayback(page, name);
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

/** Plays a video from its first segments on, while it is PROCESSING, until it is READY and has ended. */
async function playEarly(page, name, levels, shot) {
  const card = cardOf(page, name);
  const player = page.getByTestId("player");
  const availableEnd = () => player.evaluate((video) => (video.seekable.length ? video.seekable.end(0) : 0));
  const observations = [];
  const record = async (what) => {
    const state = await card.getAttribute("data-state", { timeout: remainingMillis() });
    observations.push({ what, state, ready: await availableEnd(), ...(await player.evaluate(measure)) });
    await shot(what);
    return state;
  };
  await orError(page, card.and(page.locator("[data-playable=true]")).waitFor({ timeout: remainingMillis() }), "get it playable");
  await startPlayback(page, name);
  await record("early");

  await inPlayer(
    page,
    "get more than the first segments",
    ([video, seconds]) => video.seekable.length > 0 && video.seekable.end(0) >= seconds,
    MIN_SEEKABLE_SECONDS,
  );
  const end = await availableEnd();
  const target = Math.max((await player.evaluate((video) => video.currentTime)) + 1, end - MIN_SEEKABLE_SECONDS / 2);
  await player.evaluate((video, to) => {
    video.currentTime = to;
  }, target);
  await inPlayer(page, "seek", ([video, to]) => !video.seeking && video.currentTime > to + 0.5, target);
  await record("sought");
  // Plays past the end of what was available at the seek.
  await inPlayer(page, "play on while segments are added", ([video, known]) => video.currentTime > known, end);
  await record("on");

  const states = await waitUntilReady(page, name);
  await inPlayer(page, "get all rungs", ([, wanted]) => window.reelmill.levels === wanted, levels);
  await inPlayer(page, "get the full duration", ([video]) => Number.isFinite(video.duration) && !video.seeking);
  await player.evaluate((video, last) => {
    video.currentTime = Math.max(video.currentTime, video.duration - last);
  }, TAIL_SECONDS);
  await inPlayer(page, "play to the end", ([video]) => video.ended);
  await shot("ended");
  return { early: observations, states, ...(await player.evaluate(measure)) };
}

/** Runs in the page: the state of the player. */
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
  const { playback, pageErrors } = result;
  const failures = [...pageErrors];
  for (const { what, state } of playback.early ?? []) {
    if (state !== "PROCESSING") failures.push(`it was already ${state} at step ${what}`);
  }
  if (levels && playback.hls.levels !== levels) failures.push(`${playback.hls.levels} rungs, not ${levels}`);
  if (Math.abs(playback.currentTime - playback.duration) > END_TOLERANCE) {
    failures.push(`ended at ${playback.currentTime} s of ${playback.duration} s`);
  }
  if (!(playback.duration > 0)) failures.push("the video has no duration");
  if (!(playback.frames > 0 && playback.width > 0)) failures.push("no video frame was decoded");
  if (playback.hls.engine !== "hls.js") failures.push(`played by ${playback.hls.engine || "nothing"}, not by hls.js`);
  if (playback.hls.fragments === 0) failures.push("hls.js buffered no fragment");
  if (playback.hls.fatalErrors > 0) failures.push(`fatal error in hls.js: ${playback.hls.lastError}`);
  return failures;
}

async function run(options, result) {
  await mkdir(options.screenshots, { recursive: true });
  if (options.upload && !(await fileExists(options.upload))) throw new Error(`no such file: ${options.upload}`);
  const executablePath = await findBrowser();
  const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: remainingMillis() });
  // Closes the browser at the time limit, even if a step hangs.
  const watchdog = setTimeout(() => void browser.close(), deadline + SCREENSHOT_RESERVE_MILLIS - Date.now());
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1300 } });
    collectPageErrors(page, new URL(options.server).origin, result.pageErrors);
    const shot = async (name) => {
      const file = path.join(options.screenshots, `${name}.png`);
      await page.screenshot({ path: file, timeout: remainingMillis() });
      result.screenshots.push(file);
    };
    try {
      await page.goto(options.server, { timeout: remainingMillis() });
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
      result.failures = check(result, levels);
    } catch (error) {
      // A screenshot shows more than the message.
      await page.screenshot({ path: path.join(options.screenshots, "failed.png"), timeout: 3000 }).catch(() => {});
      throw error;
    }
  } finally {
    clearTimeout(watchdog);
    await browser.close();
  }
}

const options = readArguments();
const totalSeconds = Number(options.seconds ?? DEFAULT_TIMEOUT_SECONDS);
const deadline = Date.now() + totalSeconds * 1000 - SCREENSHOT_RESERVE_MILLIS;
const result = { ok: false, video: options.video, states: [], pageErrors: [], screenshots: [], failures: [] };
try {
  await run(options, result);
} catch (error) {
  const timedOut = Date.now() >= deadline ? ` (the time limit of ${totalSeconds} s was reached)` : "";
  result.failures = [`${error.message.split("\n")[0]}${timedOut}`, ...result.pageErrors];
}
result.ok = result.failures.length === 0;
console.log(JSON.stringify(result));
if (!result.ok) for (const failure of result.failures) console.error(`play.mjs: ${failure}`);
process.exit(result.ok ? 0 : 1);
