// Parses WebVTT files with the parser of video.js, and prints what it finds: `webvtt.mjs FILE`, where FILE is a JSON array of
// texts. Output: a JSON array with the errors and the cues of each.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const VTTCue = require("videojs-vtt.js/lib/vttcue.js");
const VTTRegion = require("videojs-vtt.js/lib/vttregion.js");
const WebVTT = require("videojs-vtt.js/lib/vtt.js");

function parse(text) {
  const found = { errors: [], cues: [] };
  const parser = new WebVTT.Parser({ VTTCue, VTTRegion }, { VTTCue, VTTRegion }, WebVTT.StringDecoder());
  parser.oncue = (cue) =>
    found.cues.push({ start: cue.startTime, end: cue.endTime, text: cue.text, line: cue.line, align: cue.align });
  parser.onparsingerror = (error) => found.errors.push(error.message);
  parser.parse(text);
  parser.flush();
  return found;
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(process.argv[2], "utf8")).map(parse)));
