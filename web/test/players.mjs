// Plays a video's HLS and DASH playlists with a third-party player, Shaka, in a real Chromium: every rung, a seek, and
// to the end.
//
//   node web/test/players.mjs --server URL --hls URI --dash URI [--seconds N]
//
// Prints one line of JSON. Exit codes: 0 both played to the end, 1 one did not, 2 usage.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { FLAGS, findBrowser } from "./browser.mjs";

/** Maximum difference between the end of playback and the stated duration, seconds. */
const END_TOLERANCE = 0.5;
const shaka = createRequire(import.meta.url).resolve("shaka-player/dist/shaka-player.compiled.js");

function readArguments() {
  const text = { type: "string" };
  try {
    const { values } = parseArgs({ options: { server: text, hls: text, dash: text, seconds: text } });
    for (const needed of ["server", "hls", "dash"]) if (!values[needed]) throw new Error(`--${needed} is missing`);
    return values;
  } catch (error) {
    console.error(`players.mjs: ${error.message}`);
    process.exit(2);
  }
}

/** Runs in the page: plays `uri` and returns what was observed. */
async function play(uri) {
  const video = document.querySelector("video");
  const player = new window.shaka.Player();
  await player.attach(video);
  const errors = [];
  player.addEventListener("error", (event) => errors.push(`${event.detail.code} ${event.detail.data}`));
  const until = (what, condition) =>
    new Promise((resolve, reject) => {
      const startedAt = Date.now();
      const poll = setInterval(() => {
        const late = Date.now() - startedAt > 30_000;
        if (!condition() && !late && errors.length === 0) return;
        clearInterval(poll);
        if (condition()) resolve();
        else reject(new Error(`can't ${what} (at ${video.currentTime} s of ${video.duration} s) ${errors.join("; ")}`));
      }, 50);
    });
  // Rungs are selected explicitly below.
  player.configure({ abr: { enabled: false } });
  await player.load(uri);
  video.muted = true;
  await video.play();
  const heights = [...new Set(player.getVariantTracks().map((track) => track.height))].sort((a, b) => a - b);
  const shown = [];
  for (const height of heights) {
    const track = player.getVariantTracks().find((one) => one.height === height);
    player.selectVariantTrack(track, true);
    await until(`show ${height} lines`, () => video.videoHeight === height && !video.paused);
    shown.push(video.videoHeight);
  }
  const target = video.duration / 2;
  video.currentTime = target;
  await until("seek", () => !video.seeking && video.currentTime > target + 0.3);
  await until("play to the end", () => video.ended);
  const quality = video.getVideoPlaybackQuality();
  const seen = {
    duration: video.duration,
    currentTime: video.currentTime,
    frames: quality.totalVideoFrames,
    heights: shown,
    codecs: [...new Set(player.getVariantTracks().map((track) => `${track.videoCodec},${track.audioCodec}`))],
    type: player.getManifestType(),
  };
  await player.destroy();
  return seen;
}

const options = readArguments();
const seconds = Number(options.seconds ?? 120);
const result = { ok: false, failures: [] };
const browser = await chromium.launch({ executablePath: await findBrowser(), args: FLAGS });
const watchdog = setTimeout(() => void browser.close(), seconds * 1000);
try {
  const page = await browser.newPage();
  // An empty test page on the server's origin.
  const address = `${options.server}/players-test`;
  await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: "<video></video>" }));
  await page.goto(address);
  await page.addScriptTag({ content: await readFile(shaka, "utf8") });
  await page.evaluate(() => window.shaka.polyfill.installAll());
  for (const kind of ["hls", "dash"]) {
    const seen = await page.evaluate(play, options[kind]);
    result[kind] = seen;
    if (seen.type !== kind.toUpperCase()) result.failures.push(`${kind}: Shaka detected it as ${seen.type}`);
    if (Math.abs(seen.currentTime - seen.duration) > END_TOLERANCE) {
      result.failures.push(`${kind}: ended at ${seen.currentTime} s of ${seen.duration} s`);
    }
    if (!(seen.frames > 0)) result.failures.push(`${kind}: no video frame was decoded`);
  }
} catch (error) {
  result.failures.push(error.message.split("\n")[0]);
} finally {
  clearTimeout(watchdog);
  await browser.close();
}
result.ok = result.failures.length === 0;
console.log(JSON.stringify(result));
for (const failure of result.failures) console.error(`players.mjs: ${failure}`);
process.exit(result.ok ? 0 : 1);
