// Bundles the page into dist/. The new folder replaces the old one only when complete, so that a concurrent cargo build
// never embeds a partial page.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";

const web = path.dirname(fileURLToPath(import.meta.url));
const next = path.join(web, "node_modules/.dist-next");
const dist = path.join(web, "dist");

process.chdir(web);
await rm(next, { recursive: true, force: true });
await mkdir(next, { recursive: true });
const { metafile } = await build({
  entryPoints: { app: "src/main.ts" },
  outdir: next,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  metafile: true,
  banner: { js: "/*! Licences of what is bundled here: /licences.txt */" },
  logLevel: "warning",
});
await build({
  entryPoints: { app: "src/app.css" },
  outdir: next,
  minify: true,
  logLevel: "warning",
});
await writeFile(path.join(next, "licences.txt"), await licences(Object.keys(metafile.inputs)));
await copyFile("src/favicon.svg", path.join(next, "favicon.svg"));
await copyFile("src/index.html", path.join(next, "index.html"));
await rm(dist, { recursive: true, force: true });
await rename(next, dist);

/** The licence texts of all bundled packages, which their terms require. */
async function licences(files) {
  const folders = files.map((file) => /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]);
  const texts = [];
  for (const folder of [...new Set(folders)].filter(Boolean).sort()) {
    const { name, version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    // Some packages are Apache-2.0 but do not include the text: Reelmill's LICENSE is the same.
    const text = await readFile(file ? `${folder}/${file}` : "../LICENSE", "utf8");
    texts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}
