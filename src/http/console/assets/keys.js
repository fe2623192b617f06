// Browser keys by task id, in IndexedDB: they survive a reload and cannot be exported. Nothing else is ever kept.

import { generate } from './hpke.js';

function store(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('oust', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const db = opening.result;
      const transaction = db.transaction('keys', mode, { durability: 'strict' });
      const request = work(transaction.objectStore('keys'));
      transaction.oncomplete = () => { db.close(); resolve(request.result); };
      transaction.onerror = transaction.onabort = () => { db.close(); reject(transaction.error); };
    };
  });
}

/** The pair of a task, or nothing. */
export const find = (task) => store('readonly', (keys) => keys.get(task));

/** The pair of a task; made, and durably kept, where there is none yet. */
export async function ensure(task) {
  const known = await find(task);
  if (known) return known;
  const pair = { ...(await generate()), made: Date.now() };
  await store('readwrite', (keys) => keys.add(pair, task)).catch(() => null);
  // Another tab may have been faster: its pair counts.
  return find(task);
}

export const forget = (task) => store('readwrite', (keys) => keys.delete(task));

/** Pairs of tasks that nobody came back to. */
export async function tidy(days = 7) {
  const before = Date.now() - days * 86_400_000;
  const [names, pairs] = [await store('readonly', (keys) => keys.getAllKeys()), await store('readonly', (keys) => keys.getAll())];
  await Promise.all(names.filter((_, index) => pairs[index].made < before).map(forget));
}
