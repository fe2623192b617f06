// Looks at every page in every state, as the view models render them, with a real browser: screenshots, axe, overflow.
//
// usage: node tests/console/preview.mjs PAGES OUT [ONLY…]
//   PAGES  where the Rust test wrote them (target/tmp/console)
//   OUT    where the pictures go
// playwright-core and axe-core are found through NODE_PATH; Chromium is Debian's.

import { createServer } from 'node:http';
import { readFile, readdir, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { examine, launch, overflow, step } from './stage.mjs';

const [pages, out, ...only] = process.argv.slice(2);
const assets = fileURLToPath(new URL('../../src/http/console/assets/', import.meta.url));
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const TYPES = { '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml' };

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  const asset = pathname.match(/^\/console\/assets\/[0-9a-f]+\/([a-z]+\.(?:css|js|svg))$/);
  const page = pathname.match(/^\/page\/([a-z0-9_-]+)$/);
  try {
    if (asset) {
      const body = await readFile(path.join(assets, asset[1]));
      response.writeHead(200, { 'Content-Type': TYPES[path.extname(asset[1])] }).end(body);
    } else if (page) {
      const body = await readFile(path.join(pages, `${page[1]}.html`));
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': CSP }).end(body);
    } else {
      response.writeHead(404).end();
    }
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const base = `http://127.0.0.1:${server.address().port}`;

const browser = await launch();
await mkdir(out, { recursive: true });
const names = (await readdir(pages)).filter((f) => f.endsWith('.html')).map((f) => f.slice(0, -5)).sort()
  .filter((name) => !only.length || only.includes(name));
const problems = [];
const kinds = [['phone', 390, 844, 'light'], ['desk', 1440, 900, 'dark']];
const tabs = [];
let at = '';
for (const [, width, height, colorScheme] of kinds) {
  const context = await browser.newContext({ colorScheme, viewport: { width, height }, timezoneId: 'Europe/Berlin', reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' && !/404|EventSource|net::ERR/.test(text)) problems.push(`${at}: ${text}`);
  });
  page.on('pageerror', (error) => problems.push(`${at}: ${error.message}`));
  tabs.push(page);
}
// The running console's pages are examined in every scheme and size; here every state is, in one of them by turns.
for (const [number, name] of names.entries()) {
  for (const [turn, [size, width, height, scheme]] of kinds.entries()) {
    if (number % 2 !== turn && !only.length) continue;
    const page = tabs[turn];
    at = `${name} ${size} ${scheme}`;
    await page.goto(`${base}/page/${name}`, { waitUntil: 'load' });
    await page.screenshot({ path: path.join(out, `${name}-${size}-${scheme}.png`), fullPage: true });
    const { bad, notes } = await examine(page);
    problems.push(...bad.map((line) => `${at}: ${line}`));
    for (const line of notes) console.log(`note: ${at}: ${line}`);
    for (const narrow of [width, 360]) {
      await page.setViewportSize({ width: narrow, height });
      const wide = await overflow(page);
      if (wide) problems.push(`${at}: wider than ${narrow} px: ${wide}`);
    }
    await page.setViewportSize({ width, height });
  }
}

await browser.close();
server.close();
if (!problems.length) step(`${names.length} pages in every state: axe finds nothing serious, nothing sticks out`);
for (const problem of problems) console.log(`expected nothing of it: ${problem}`);
process.exit(problems.length ? 1 : 0);
