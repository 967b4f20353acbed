// Every request to the server, and what people are told of those that fail.

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer: is stylebatch page still running?", 0);
  }
  if (answer.ok) return answer;
  let told = `${answer.status} ${answer.statusText}`;
  try {
    told = (await answer.json()).error ?? told;
  } catch {
    // no JSON: the status has to do
  }
  throw new Failure(told, answer.status);
}

export const get = async (path, options) => (await ask(path, options)).json();

export async function send(path, value = undefined, method = "POST") {
  const options = { method };
  if (value !== undefined) {
    options.body = JSON.stringify(value);
    options.headers = { "Content-Type": "application/json" };
  }
  return (await ask(path, options)).json();
}

export const address = (path, query) =>
  `${path}?${new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null))}`;

// A body with its progress, which fetch does not tell.
export function upload(path, file, progress = () => {}, method = "POST") {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      let told = {};
      try {
        told = JSON.parse(request.responseText);
      } catch {
        // no JSON: the status has to do
      }
      if (request.status < 300) resolve(told);
      else reject(new Failure(told.error ?? `${request.status} ${request.statusText}`, request.status));
    };
    request.onerror = () => reject(new Failure("The upload broke off: is stylebatch page still running?", 0));
    request.send(file);
  });
}
