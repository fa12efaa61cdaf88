"use strict";

/* Data pieces and pictures: handed over by scripts, asked for by name. */
const ascribe = (() => {
  const values = new Map();
  const asked = new Map();
  const embedded = new Map();

  function take(name, value) {
    values.set(name, value);
    const waiting = asked.get(name);
    if (waiting) waiting.resolve(value);
  }

  function load(name) {
    if (values.has(name)) return Promise.resolve(values.get(name));
    const earlier = asked.get(name);
    if (earlier) return earlier.promise;
    const waiting = {};
    waiting.promise = new Promise((resolve, reject) => Object.assign(waiting, { resolve, reject }));
    asked.set(name, waiting);
    const fail = () => {
      asked.delete(name);
      waiting.reject(new Error(`data/${name}.js is missing or damaged; run ascribe audit again`));
    };
    const script = document.createElement("script");
    script.src = `data/${name}.js`;
    script.onerror = fail;
    script.onload = () => { if (!values.has(name)) fail(); };
    document.head.append(script);
    return waiting.promise;
  }

  return {
    take,
    load,
    image: (name, address) => embedded.set(name, address),
    address: (name) => embedded.get(name) ?? `images/${name}.png`,
  };
})();
