// What a form is called, so that it is found again in a page that was updated meanwhile.

/** What changes while a form is read, and is none of its name. */
const FLEETING = ['csrf', 'revision', 'digest'];

/** Where it goes and what it is about; empty for what stands in no form. */
export function nameOf(form) {
  if (!form) return '';
  const about = [...form.querySelectorAll('input[type=hidden]')].filter((field) => !FLEETING.includes(field.name));
  return [form.getAttribute('action'), ...about.map((field) => `${field.name}=${field.value}`)].join(' ');
}

/** The form of this name in a part of the page; the part itself for what stands in no form. */
export function formIn(part, name) {
  return name ? [...part.querySelectorAll('form')].find((form) => nameOf(form) === name) : part;
}
