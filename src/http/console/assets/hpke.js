// HPKE (RFC 9180), base mode, one message: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Opening only.

const text = new TextEncoder();
const subtle = globalThis.crypto.subtle;
const CURVE = { name: 'ECDH', namedCurve: 'P-256' };
const KEM = new Uint8Array([0x4b, 0x45, 0x4d, 0x00, 0x10]);
const SUITE = new Uint8Array([0x48, 0x50, 0x4b, 0x45, 0x00, 0x10, 0x00, 0x01, 0x00, 0x02]);
const NONE = new Uint8Array(0);

/** Bound into every seal; the server gives the same. */
export const INFO = text.encode('oust temporary password v1');

const join = (...parts) => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
};

const hmac = async (key, data) => {
  // An empty salt is a block of zeros; an empty key is none.
  const bytes = key.length ? key : new Uint8Array(32);
  const imported = await subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', imported, data));
};

const extract = (suite, salt, label, material) =>
  hmac(salt, join(text.encode('HPKE-v1'), suite, text.encode(label), material));

const expand = async (suite, secret, label, info, length) => {
  const labelled = join(new Uint8Array([0, length]), text.encode('HPKE-v1'), suite, text.encode(label), info);
  // One block is enough: nothing here is longer than 32 bytes.
  return (await hmac(secret, join(labelled, new Uint8Array([1])))).slice(0, length);
};

/** A key pair whose private half never leaves this browser; `key` is the public point as base64url. */
export async function generate() {
  const pair = await subtle.generateKey(CURVE, false, ['deriveBits']);
  return { privateKey: pair.privateKey, key: encode(new Uint8Array(await subtle.exportKey('raw', pair.publicKey))) };
}

/** The clear text, as bytes. Rejects when the ciphertext is not for this key, purpose and associated data. */
export async function open({ privateKey, key }, { enc, ciphertext }, aad, info = INFO) {
  const [point, own] = [decode(enc), decode(key)];
  const sender = await subtle.importKey('raw', point, CURVE, false, []);
  const dh = new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: sender }, privateKey, 256));
  const prk = await extract(KEM, NONE, 'eae_prk', dh);
  const shared = await expand(KEM, prk, 'shared_secret', join(point, own), 32);
  const [psk, infoHash] = [await extract(SUITE, NONE, 'psk_id_hash', NONE), await extract(SUITE, NONE, 'info_hash', info)];
  const context = join(new Uint8Array([0]), psk, infoHash);
  const secret = await extract(SUITE, shared, 'secret', NONE);
  const aead = await subtle.importKey('raw', await expand(SUITE, secret, 'key', context, 32), 'AES-GCM', false, ['decrypt']);
  const iv = await expand(SUITE, secret, 'base_nonce', context, 12);
  const clear = await subtle.decrypt({ name: 'AES-GCM', iv, additionalData: text.encode(aad) }, aead, decode(ciphertext));
  return new Uint8Array(clear);
}

/** Base64url without padding. */
export const encode = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');

/** The bytes of base64url. */
export const decode = (data) => Uint8Array.from(atob(data.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
