// The theme is set before the page is painted, so that it does not flash.
(() => {
	try {
		const theme = localStorage.getItem("theme");
		if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
	} catch { /* storage may be forbidden */ }
})();
