/** The report's style sheet. System fonts only: the page loads nothing. */
export const style = `
:root {
  color-scheme: light;
  --page: #f4f5f7; --card: #ffffff; --ink: #171c24; --soft: #556070; --line: #dde1e7; --accent: #1f5fae;
  --good: #17713f; --good-back: #e3f4ea; --bad: #b3261e; --bad-back: #fce8e6; --warn: #8a5300; --warn-back: #fdf0d9;
  --stripe: #f8f9fb; --mark: #17713f; --shadow: 0 1px 2px rgb(20 30 50 / .06), 0 4px 16px rgb(20 30 50 / .05);
}
:root[data-theme='dark'] {
  color-scheme: dark;
  --page: #0f1319; --card: #181e27; --ink: #e6eaf0; --soft: #9ba7b6; --line: #2c3542; --accent: #7db4f5;
  --good: #6fd59b; --good-back: #14331f; --bad: #ff9d94; --bad-back: #43201d; --warn: #f0c069; --warn-back: #3b2d10;
  --stripe: #1c232d; --mark: #6fd59b; --shadow: none;
}
@media (prefers-color-scheme: dark) {
  :root:not([data-theme='light']) {
    color-scheme: dark;
    --page: #0f1319; --card: #181e27; --ink: #e6eaf0; --soft: #9ba7b6; --line: #2c3542; --accent: #7db4f5;
    --good: #6fd59b; --good-back: #14331f; --bad: #ff9d94; --bad-back: #43201d; --warn: #f0c069; --warn-back: #3b2d10;
    --stripe: #1c232d; --mark: #6fd59b; --shadow: none;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; scroll-padding-top: 16px; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif;
}
main, .top { max-width: 1080px; margin: 0 auto; padding: 0 20px; }
.top { display: flex; align-items: flex-start; gap: 16px; padding-top: 36px; }
.top > div { flex: 1; min-width: 0; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 4px; font-weight: 680; }
h2 { font-size: 20px; line-height: 1.3; letter-spacing: -.01em; margin: 0; font-weight: 650; overflow-wrap: anywhere; }
h3 { font-size: 13px; margin: 28px 0 10px; font-weight: 650; color: var(--soft); }
p { margin: 0 0 10px; }
a { color: var(--accent); text-underline-offset: 2px; }
.soft { color: var(--soft); }
.skip { position: absolute; left: -9999px; }
.skip:focus { left: 12px; top: 12px; background: var(--card); padding: 8px 12px; border-radius: 8px; z-index: 2; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }

button { font: inherit; color: inherit; cursor: pointer; }
.toggle {
  border: 1px solid var(--line); background: var(--card); border-radius: 999px; padding: 6px 14px; font-size: 13px; white-space: nowrap;
}
.toggle:hover { border-color: var(--soft); }

.figures-of-run { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 24px 0; }
.number { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 16px 18px; box-shadow: var(--shadow); }
.number dt { color: var(--soft); font-size: 13px; }
.number dd { margin: 2px 0 0; font-size: 26px; font-weight: 660; letter-spacing: -.02em; font-variant-numeric: tabular-nums; line-height: 1.25; }
.number dd small { font-size: 15px; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.number.wide { grid-column: span 2; }
.number .meter { height: 6px; border-radius: 3px; background: var(--bad-back); margin: 12px 0 4px; overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--mark); border-radius: 3px; }

.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 22px 24px; margin: 0 0 20px; box-shadow: var(--shadow); }
.paper-head { display: flex; gap: 16px; align-items: flex-start; }
.paper-head > div { flex: 1; min-width: 0; }
.badge {
  flex: none; min-width: 44px; height: 44px; border-radius: 11px; display: grid; place-items: center; padding: 0 8px;
  background: var(--ink); color: var(--card); font-weight: 680; font-size: 17px; font-variant-numeric: tabular-nums;
}
.meta { display: flex; flex-wrap: wrap; gap: 2px 14px; color: var(--soft); font-size: 13.5px; margin: 5px 0 0; padding: 0; list-style: none; }
.lead { margin: 14px 0 0; color: var(--soft); max-width: 75ch; }
.pill { display: inline-block; border-radius: 999px; padding: 2px 11px; font-size: 13px; font-weight: 620; white-space: nowrap; }
.pill.good { background: var(--good-back); color: var(--good); }
.pill.bad { background: var(--bad-back); color: var(--bad); }
.pill.none { background: var(--stripe); color: var(--soft); }
.notice { background: var(--warn-back); color: var(--warn); border-radius: 10px; padding: 10px 14px; margin: 16px 0 0; overflow-wrap: anywhere; }
.notice.bad { background: var(--bad-back); color: var(--bad); }

.scroll { overflow-x: auto; margin: 0 -24px; padding: 0 24px; }
.scroll + .scroll { margin-top: 28px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
caption { text-align: left; font-weight: 650; font-size: 14px; padding: 0 0 8px; color: var(--ink); }
caption > div { position: sticky; left: 0; width: fit-content; max-width: min(calc(100vw - 66px), 75ch); }
caption small { display: block; font-weight: 400; color: var(--soft); font-size: 13px; }
th, td { text-align: left; padding: 8px 14px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; font-size: 13px; white-space: nowrap; vertical-align: bottom; }
th.num, td.num { text-align: right; white-space: nowrap; }
tbody th { font-weight: 560; min-width: 170px; }
td .spread { color: var(--soft); font-size: 12.5px; }
td.best { color: var(--good); font-weight: 640; }
td.best .spread { color: inherit; font-weight: 400; }
th button { border: 0; background: none; padding: 0; font-weight: inherit; font-size: inherit; text-align: inherit; }
th button::after { content: '↕'; opacity: .35; margin-left: 5px; font-size: 11px; }
th[aria-sort='ascending'] button::after { content: '↑'; opacity: 1; }
th[aria-sort='descending'] button::after { content: '↓'; opacity: 1; }
th button:hover { color: var(--ink); }
.claims td:first-child { width: 46%; }
.claims .id { display: block; color: var(--soft); font-size: 12.5px; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.summary td:nth-child(2) { min-width: 220px; }
.summary a { font-weight: 560; text-decoration: none; }
.summary a:hover { text-decoration: underline; }

.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 20px; align-items: start; }
figure { margin: 0; min-width: 0; }
.plot { overflow-x: auto; }
.plot svg { display: block; max-width: 100%; height: auto; margin: 0; }
figcaption { font-size: 13.5px; color: var(--soft); margin-top: 6px; }
h4 { font-size: 14px; font-weight: 640; margin: 0 0 8px; }

details { margin-top: 20px; border-top: 1px solid var(--line); padding-top: 14px; }
summary { cursor: pointer; font-weight: 600; font-size: 14px; width: fit-content; }
details[open] > summary { margin-bottom: 12px; }
.summary td:nth-child(n + 4) { white-space: nowrap; }
.command { display: flex; gap: 10px; align-items: center; margin-top: 22px; background: var(--stripe); border: 1px solid var(--line); border-radius: 10px; padding: 8px 8px 8px 14px; }
.command code { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.command button { border: 1px solid var(--line); background: var(--card); border-radius: 7px; padding: 3px 12px; font-size: 13px; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.environment { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 12px 24px; margin: 14px 0 0; }
.environment dt { color: var(--soft); font-size: 13px; }
.environment dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; padding: 4px 0 48px; }

@media (max-width: 720px) {
  main, .top { padding-left: 16px; padding-right: 16px; }
  .top { padding-top: 24px; }
  h1 { font-size: 23px; }
  .figures-of-run { grid-template-columns: 1fr 1fr; gap: 10px; margin: 18px 0; }
  .number { padding: 12px 14px; }
  .number dd { font-size: 21px; }
  .card { padding: 18px 16px; border-radius: 12px; }
  .scroll { margin: 0 -16px; padding: 0 16px; }
  .badge { min-width: 38px; height: 38px; font-size: 15px; }
  h2 { font-size: 17.5px; }
  .claims, .claims tbody, .claims tr, .claims td { display: block; width: auto; }
  .claims thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  .claims tr { padding: 12px 0; border-bottom: 1px solid var(--line); }
  .claims tbody tr:last-child { border-bottom: 0; }
  .claims td, .claims td:first-child { border: 0; padding: 2px 0; width: auto; text-align: left; white-space: normal; }
  .claims td[data-label]:not(:first-child) { display: grid; grid-template-columns: 96px 1fr; gap: 8px; }
  .claims td[data-label]:not(:first-child)::before { content: attr(data-label); color: var(--soft); font-size: 13px; }
  .claims td:first-child { padding-bottom: 6px; }
  .claims .pill { justify-self: start; }
  .claims td[data-empty] { display: none !important; }
  .summary td:nth-child(2) { min-width: 150px; }
  tbody th { min-width: 110px; }
}
@media print {
  body { background: #fff; }
  .toggle, .command button, .skip { display: none; }
  .card, .number { box-shadow: none; break-inside: avoid; }
}
`
