// Opens with the page's own script what the Rust test sealed: prints a public key, reads cases, prints what opened.

import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

const source = await readFile(new URL('../../src/http/console/assets/hpke.js', import.meta.url), 'utf8');
const hpke = await import(`data:text/javascript;base64,${Buffer.from(source).toString('base64')}`);

const pair = await hpke.generate();
console.log(pair.key);
for await (const line of createInterface({ input: process.stdin })) {
  const opened = [];
  for (const { sealed, task } of JSON.parse(line)) {
    const clear = await hpke.open(pair, sealed, task).catch(() => null);
    opened.push(clear && new TextDecoder().decode(clear));
  }
  console.log(JSON.stringify(opened));
  break;
}
