// Plays a video on the page in a real Chromium, as a person would, and reports what happened.
//
//   node web/test/play.mjs --server URL --email E --password P --screenshots DIR
//        (--video videos/ID | --upload FILE) [--sign-up] [--rate N]
//
// Prints one line of JSON. Exit codes: 0 it played to the end, 1 it did not, 2 usage.
import { access, mkdir } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const TOTAL_MILLIS = 120_000;
/** How far the end of playback may lie from the stated duration, seconds. */
const END_TOLERANCE = 0.5;
const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const MAC_BROWSERS = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// The last five seconds are for a picture of what went wrong.
const deadline = Date.now() + TOTAL_MILLIS - 5000;
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
  if (!values.video && !values.upload) usage("--video or --upload is missing");
  if (values.rate && !(Number(values.rate) > 0 && Number(values.rate) <= 4)) usage("--rate is above 0 and at most 4");
  return values;
}

async function isThere(file) {
  return access(file).then(
    () => true,
    () => false,
  );
}

async function findBrowser() {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const candidates = BROWSERS.flatMap((name) => folders.map((folder) => path.join(folder, name)));
  for (const candidate of [...candidates, ...MAC_BROWSERS]) {
    if (await isThere(candidate)) return candidate;
  }
  throw new Error(`no browser found: none of ${BROWSERS.join(", ")} is on the PATH (see deploy/bootstrap.sh)`);
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
  const failure = alert.waitFor({ timeout: left() }).then(async () => {
    throw new Error(`can't ${what}: the page says: ${await alert.textContent()}`);
  });
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

async function playToTheEnd(page, name, rate, shot) {
  const button = cardOf(page, name).getByTestId("play");
  await orError(page, button.click({ timeout: left() }), "press play");
  const player = page.getByTestId("player");
  const playing = page.waitForFunction(
    () => {
      const video = document.querySelector("[data-testid=player]");
      return video.readyState >= 3 && !video.paused && video.currentTime > 0;
    },
    undefined,
    { timeout: left() },
  );
  await orError(page, playing, "play");
  const duration = await player.evaluate((video) => video.duration);
  const speed = rate ?? (duration > 15 ? 4 : 1);
  await player.evaluate((video, value) => {
    video.playbackRate = value;
  }, speed);
  await shot("playing");
  const ended = page.waitForFunction(() => document.querySelector("[data-testid=player]").ended, undefined, {
    timeout: left(),
  });
  await orError(page, ended, "play to the end").catch(async (error) => {
    const at = await player.evaluate((video) => video.currentTime).catch(() => undefined);
    throw new Error(`${error.message.split("\n")[0]} (stood at ${at} s of ${duration} s)`);
  });
  await shot("ended");
  return { rate: speed, ...(await player.evaluate(measure)) };
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

function check(result) {
  const { playback, trouble } = result;
  const faults = [...trouble];
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
  const watchdog = setTimeout(() => void browser.close(), TOTAL_MILLIS - performance.now());
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
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
      result.states = await waitUntilReady(page, result.video);
      await shot("library");
      result.playback = await playToTheEnd(page, result.video, options.rate && Number(options.rate), shot);
      result.faults = check(result);
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
const result = { ok: false, video: options.video, states: [], trouble: [], screenshots: [], faults: [] };
try {
  await run(options, result);
} catch (error) {
  const late = Date.now() >= deadline ? ` (the ${TOTAL_MILLIS / 1000} s are up)` : "";
  result.faults = [`${error.message.split("\n")[0]}${late}`, ...result.trouble];
}
result.ok = result.faults.length === 0;
console.log(JSON.stringify(result));
if (!result.ok) for (const fault of result.faults) console.error(`play.mjs: ${fault}`);
process.exit(result.ok ? 0 : 1);
