// Looks at the rendered pages with a real browser: screenshots, axe, overflow, weight, and the scripts at work.
//
// usage: node tests/console/preview.mjs PAGES OUT [ONLY…]
//   PAGES  where the Rust test wrote them (target/tmp/console)
//   OUT    where the pictures go
// playwright-core and axe-core are found through NODE_PATH; Chromium is Debian's.

import { createServer } from 'node:http';
import { readFile, readdir, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { examine, launch, overflow } from './stage.mjs';

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
const PICTURED = new Set(['home', 'home-paused-shadow', 'home-empty', 'home-hostile', 'tasks', 'task', 'task-sealed', 'task-manual', 'case',
  'buried', 'playbooks', 'playbook', 'audit', 'overview', 'settings', 'sign-in', 'enrol', 'error-409-difference']);
const SIZES = [['phone', 390, 844], ['desk', 1440, 900]];
const problems = [];

for (const colorScheme of ['light', 'dark']) {
  const context = await browser.newContext({ colorScheme, timezoneId: 'Europe/Berlin', reducedMotion: 'reduce' });
  const page = await context.newPage();
  let at = '';
  page.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' && !/404|EventSource|net::ERR/.test(text)) problems.push(`${at}: ${text}`);
  });
  page.on('pageerror', (error) => problems.push(`${at}: ${error.message}`));
  for (const name of names) {
    for (const [size, width, height] of [...SIZES, ['narrow', 360, 740]]) {
      at = `${name} ${size} ${colorScheme}`;
      await page.setViewportSize({ width, height });
      await page.goto(`${base}/page/${name}`, { waitUntil: 'load' });
      const wide = await overflow(page);
      if (wide) problems.push(`${at}: wider than the screen: ${wide}`);
      if (size === 'narrow') continue;
      if (PICTURED.has(name) || only.length) await page.screenshot({ path: path.join(out, `${name}-${size}-${colorScheme}.png`), fullPage: true });
      // Each size and each scheme once.
      if ((size === 'phone') !== (colorScheme === 'dark')) continue;
      const { bad, notes } = await examine(page);
      problems.push(...bad.map((line) => `${at}: ${line}`));
      for (const line of notes) console.log(`note: ${at}: ${line}`);
    }
  }
  await context.close();
}

await browser.close();
server.close();
console.log(`${names.length} pages; ${problems.length} problems`);
for (const problem of problems) console.log(problem);
process.exit(problems.length ? 1 : 0);
