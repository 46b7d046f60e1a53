// Stats: the statistics of the service as charts.

import { h, api, count, number, percent, poll, panel, bar, Table } from "./lib.js";
import { Plot } from "./plot.js";

export function open(main) {
	const totals = h("dl", { class: "tiles" });
	const days = new Plot({ title: "Posts per day", format: number, bars: true, day: true, series: [{ label: "posts", value: p => p.posts }] });
	const ranked = (caption, name, value) => {
		const t = new Table({ caption, key: x => x[name], empty: "None yet.", columns: [{ label: "Name", head: true, show: x => x[name] }, { label: "Count", num: true, show: x => bar(x[value] / t.top, count(x[value])) }] });
		t.load = list => { t.top = list.reduce((m, x) => Math.max(m, x[value]), 1); t.show(list); };
		return t;
	};
	const tags = ranked("Tags that posts use most", "tag", "uses"), users = ranked("Users by their posts", "username", "post_count");
	main.append(h("h1", {}, "Stats"));
	const body = h("div");
	main.append(body);
	const poller = poll(body, () => Promise.all([api("/v1/stats/overview"), api("/v1/stats/posts-per-day"), api("/v1/stats/top-tags?limit=15"), api("/v1/stats/users?limit=15&min_posts=0")]), (into, [o, perDay, top, writers]) => {
		if (!into.firstChild) into.append(totals, days.element, h("div", { class: "columns" }, panel("Top tags", tags.element), panel("Users by posts", users.element)));
		totals.replaceChildren(...Object.entries(o).filter(([, v]) => typeof v === "number").map(([k, v]) => h("div", {}, h("dt", {}, (k[0].toUpperCase() + k.slice(1)).replaceAll("_", " ")), h("dd", {}, count(v)))));
		days.show(perDay.items.map(d => ({ at: Date.parse(d.day) / 1000, posts: d.posts })));
		tags.load(top.items);
		users.load(writers.items);
	}, 30000);
	return { close() { poller.close(); days.close(); } };
}
