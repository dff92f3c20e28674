// Every way in which a page can take something from elsewhere into itself; each ends by itself, or as a navigation
// that the test waits for. `tryAll(url)` answers the name of each way with what became of it.
async (url) => {
  const outcome = {};
  const waits = [];

  const made = (tag, properties) => Object.assign(document.createElement(tag), properties);

  const settled = (element) =>
    new Promise((done) => {
      element.addEventListener("load", () => done("load"));
      element.addEventListener("error", () => done("error"));
      element.addEventListener("loadeddata", () => done("loadeddata"));
    });

  const way = (name, work) => {
    const ended = Promise.resolve()
      .then(work)
      .then((value) => (outcome[name] = String(value)), (error) => (outcome[name] = `${error.name}`));
    waits.push(ended);
  };

  const element = (name, tag, properties, attributes = {}) =>
    way(name, () => {
      const shown = made(tag, properties);
      for (const [key, value] of Object.entries(attributes)) shown.setAttribute(key, value);
      const ended = settled(shown);
      document.body.append(shown);
      return ended;
    });

  // Navigations: the test counts them, since a download tells its frame nothing.
  const navigation = (tag, properties, attributes = {}) => {
    const shown = made(tag, properties);
    for (const [key, value] of Object.entries(attributes)) shown.setAttribute(key, value);
    document.body.append(shown);
  };
  navigation("iframe", { src: url });
  navigation("iframe", { src: url }, { sandbox: "allow-scripts allow-same-origin allow-downloads allow-popups" });
  navigation("iframe", { src: url }, { credentialless: "" });
  navigation("object", { data: url });
  navigation("object", { data: url, type: "image/svg+xml" });
  navigation("embed", { src: url });

  element("img", "img", { src: url });
  element("img-cors", "img", { crossOrigin: "anonymous", src: url });
  element("script", "script", { src: url });
  element("script-cors", "script", { crossOrigin: "anonymous", src: url });
  element("script-module", "script", { type: "module", src: url });
  element("stylesheet", "link", { rel: "stylesheet", href: url });
  element("modulepreload", "link", { rel: "modulepreload", href: url });
  element("video", "video", { src: url, preload: "auto" });
  element("audio", "audio", { src: url, preload: "auto" });
  element("input-image", "input", { type: "image", src: url });
  way("import", () => import(url).then(() => "ran"));
  way("style-import", () => {
    const style = made("style", { textContent: `@import url(${JSON.stringify(url)});` });
    const ended = settled(style);
    document.body.append(style);
    return ended;
  });
  way("font", () => new FontFace("polyglot", `url(${JSON.stringify(url)})`).load().then(() => "loaded"));
  way("svg-image", () => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const image = document.createElementNS("http://www.w3.org/2000/svg", "image");
    image.setAttribute("href", url);
    const ended = settled(image);
    svg.append(image);
    document.body.append(svg);
    return ended;
  });
  way("worker", () => settled(new Worker(url)));
  way("worker-module", () => settled(new Worker(url, { type: "module" })));
  way("shared-worker", () => settled(new SharedWorker(url)));
  way("import-scripts", () => {
    const source = `try{importScripts(${JSON.stringify(url)});postMessage("ran")}catch(e){postMessage(e.name)}`;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    return new Promise((done) => (worker.onmessage = (event) => done(event.data)));
  });
  way("service-worker", () => navigator.serviceWorker.register(url).then(() => "registered"));
  way("worklet", async () => {
    await CSS.paintWorklet?.addModule(url);
    return "added";
  });
  way("fetch", () => fetch(url).then((answer) => answer.arrayBuffer()).then(() => "fetched"));
  way("fetch-no-cors", () => fetch(url, { mode: "no-cors" }).then(() => "fetched"));
  way("stream-wasm", () => WebAssembly.instantiateStreaming(fetch(url)).then(() => "ran"));

  await Promise.all(waits);
  return outcome;
}
