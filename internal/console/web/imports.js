// Import: a file is dropped, sent as it is, and stored while it is sent.

import { h, bytes, count, panel, facts, say, sentence } from "./lib.js";

export function open(main) {
	const file = h("input", { type: "file", id: "file", accept: ".csv,.ndjson,.jsonl,.gz", onchange: () => chosen(file.files[0]) });
	const drop = h("label", { class: "drop", for: "file" }, h("strong", {}, "Drop a CSV or NDJSON file here"), h("span", { class: "muted" }, "or choose one. It may be gzipped."), file);
	const noun = h("select", { id: "noun" }, h("option", { value: "users" }, "users"), h("option", { value: "posts" }, "posts"));
	const conflict = h("select", { id: "conflict" }, [["error", "reject it"], ["skip", "skip it"], ["update", "update the stored row"]].map(([v, text]) => h("option", { value: v }, text)));
	const strict = h("input", { type: "checkbox", id: "strict" });
	const start = h("button", { type: "button", class: "primary", disabled: true, onclick: () => send() }, "Import");
	const stop = h("button", { type: "button", class: "danger", hidden: true, onclick: () => request && request.abort() }, "Stop");
	const name = h("p", { class: "muted" });
	const progress = h("progress", { max: 1, value: 0, "aria-label": "Progress of the import", hidden: true }), told = h("p", { role: "status" });
	const result = h("div");
	let picked = null, request = null, imported = null; // what the last import was of

	function chosen(f) {
		picked = f || null;
		name.textContent = f ? `${f.name}, ${bytes(f.size)}` : "";
		start.disabled = !f;
		if (f && /post/i.test(f.name)) noun.value = "posts";
		if (f && /user/i.test(f.name)) noun.value = "users";
	}
	drop.addEventListener("dragover", e => { e.preventDefault(); drop.classList.add("over"); });
	drop.addEventListener("dragleave", () => drop.classList.remove("over"));
	drop.addEventListener("drop", e => { e.preventDefault(); drop.classList.remove("over"); chosen(e.dataTransfer.files[0]); });

	function send() {
		const query = new URLSearchParams({ on_conflict: conflict.value });
		if (strict.checked) query.set("strict", "true");
		imported = { file: picked, noun: noun.value, query };
		result.replaceChildren();
		upload("import", async (status, answer) => show(status, await json(answer)));
	}

	// upload sends the file of the import. It uses XMLHttpRequest, because fetch does not report
	// the progress of an upload. A Blob holds an answer of any size outside of the page's memory.
	function upload(path, done) {
		const { file, noun, query } = imported;
		request = new XMLHttpRequest();
		request.responseType = "blob";
		request.open("POST", `/v1/${noun}/${path}?${query}`);
		request.setRequestHeader("Content-Type", /\.(ndjson|jsonl)(\.gz)?$/i.test(file.name) ? "application/x-ndjson" : "text/csv");
		if (/\.gz$/i.test(file.name)) request.setRequestHeader("Content-Encoding", "gzip");
		request.upload.onprogress = e => {
			progress.value = e.loaded / e.total;
			told.textContent = e.loaded < e.total ? `${bytes(e.loaded)} of ${bytes(e.total)} sent` : "All sent. The last rows are being stored.";
		};
		request.onloadend = () => {
			running(false);
			if (request.status === 401) window.dispatchEvent(new Event("unauthorized"));
			done(request.status, request.response);
		};
		running(true);
		request.send(file);
	}

	// download sends the file again and saves the rejected rows, which are the answer. Rows that
	// were stored are not stored again.
	function download() {
		upload("import/rejects", async (status, answer) => {
			if (answer && answer.type === "application/x-ndjson") {
				save(answer, imported.noun + "-rejects.ndjson");
				told.textContent = "The rejected rows were saved. Correct and import that file.";
				told.className = "";
				return;
			}
			told.textContent = status === 0 ? "The download was interrupted." : sentence((await json(answer)).detail || "The download failed.");
			told.className = "bad";
		});
	}

	function running(on) {
		start.disabled = on || !picked;
		stop.hidden = !on;
		progress.hidden = !on;
		if (on) { progress.value = 0; told.textContent = "Sending…"; }
	}

	function show(status, body) {
		if (status === 0) {
			told.textContent = "The import was interrupted. Import the same file again to resume: no row is stored twice.";
			return;
		}
		const rejects = body.rejects || (body.errors || []).map(e => ({ line: lineOf(e), field: e.location || "", reason: e.message }));
		told.textContent = status < 300 ? "Done." : sentence(body.detail || "The import failed.");
		told.className = status < 300 ? "" : "bad";
		result.replaceChildren(panel("Result",
			body.note ? h("p", {}, body.note) : null,
			"rows" in body ? facts(["rows", "inserted", "updated", "unchanged", "skipped", "rejected", "resumed"].map(k => [k[0].toUpperCase() + k.slice(1), count(body[k])])) : null,
			rejects.length ? table(rejects, (body.rejected || 0) + (body.resumed_rejected || 0)) : null));
		if (status < 300) say(`${count(body.inserted + body.updated)} rows were stored.`);
	}

	function table(rejects, all) {
		return h("div", {}, h("h3", {}, "Rejected rows"), all > rejects.length ? h("p", { class: "muted" }, `The first ${count(rejects.length)} of ${count(all)}.`) : null,
			h("p", {}, h("button", { type: "button", onclick: download }, "Download all rejected rows")),
			h("p", { class: "muted" }, "The file is sent again, and no row is stored twice. The download is NDJSON: correct its rows and import it."),
			h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rejected rows" }, h("table", { class: "plain" }, h("caption", { class: "hidden" }, "Rejected rows"),
				h("thead", {}, h("tr", {}, ["Line", "Field", "Reason"].map((x, i) => h("th", { scope: "col", class: i ? null : "num" }, x)))),
				h("tbody", {}, rejects.map(r => h("tr", {}, h("th", { scope: "row", class: "num" }, r.line), h("td", {}, r.field), h("td", {}, r.reason)))))));
	}

	main.append(h("h1", {}, "Import"), panel("File", drop, name,
		h("div", { class: "row controls" }, h("div", { class: "field" }, h("label", { for: "noun" }, "Rows are"), noun), h("div", { class: "field" }, h("label", { for: "conflict" }, "If a row exists already"), conflict),
			h("label", { class: "check" }, strict, "store all rows or none"), start, stop), progress, told), result);
	return { close() { if (request) request.abort(); } };
}

const lineOf = e => { const m = /line[. ](\d+)/.exec(e.location || e.message || ""); return m ? m[1] : ""; };

// json returns the JSON in an answer, which may be empty.
const json = async answer => { try { return JSON.parse(await answer.text()); } catch { return {}; } };

// save offers a Blob as a file.
function save(blob, name) {
	const url = URL.createObjectURL(blob);
	h("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 10000);
}
