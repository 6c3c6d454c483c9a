// Finds and configures the browser that the tests automate.
import { access } from "node:fs/promises";
import path from "node:path";

const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const MAC_BROWSERS = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
/** Flags for a headless browser that makes no network requests of its own. */
export const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export async function fileExists(file) {
  return access(file).then(
    () => true,
    () => false,
  );
}

/** Path of the first browser found on the PATH. */
export async function findBrowser() {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const candidates = BROWSERS.flatMap((name) => folders.map((folder) => path.join(folder, name)));
  for (const candidate of [...candidates, ...MAC_BROWSERS]) {
    if (await fileExists(candidate)) return candidate;
  }
  throw new Error(`no browser found: none of ${BROWSERS.join(", ")} is on the PATH (see deploy/bootstrap.sh)`);
}
