// Loads with @huggingface/hub. For each `TYPE REPO REVISION` it prints the mark that the repo has there, or the words of the error.
//
//   load.mjs [--scan] [TYPE REPO REVISION]...   with --scan it finds the commit of a revision by what the cache holds

import { readFile } from "node:fs/promises";
import { downloadFileToCacheDir, scanCacheDir } from "@huggingface/hub";

const words = process.argv.slice(2);
const scans = words[0] === "--scan";
if (scans) words.shift();

async function commit(type, name, revision) {
	const { repos } = await scanCacheDir();
	const repo = repos.find(({ id }) => id.type === type && id.name === name);
	return repo.revisions.find(({ commitOid, refs }) => commitOid === revision || refs.includes(revision)).commitOid;
}

for (let at = 0; at + 2 < words.length; at += 3) {
	const [type, name, revision] = words.slice(at, at + 3);
	try {
		const wanted = scans ? await commit(type, name, revision || "main") : revision || undefined;
		const path = type === "dataset" ? "data/train.jsonl" : "config.json";
		const found = await downloadFileToCacheDir({ repo: { type, name }, path, revision: wanted });
		console.log(JSON.parse(await readFile(found)).mark);
	} catch (error) {
		console.log(`cannot: ${error.message}`);
	}
}
