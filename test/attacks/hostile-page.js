// The script of the attacker's pages. It runs in the browser, where `attack` is global.

const attack = {
  /**
   * Sends a form to each path, each into a frame of its own, and waits until all frames have loaded.
   * @param begin of a JSON text that the form sends
   */
  async sendForms({ origin, paths, enctype, begin = '{"payload":{"forged":true},"x":"' }) {
    await Promise.all(
      paths.map((path) => {
        const frame = document.createElement('iframe');
        // Two frames of one name would be one target.
        frame.name = `frame-${document.querySelectorAll('iframe').length}`;
        document.body.append(frame);
        const form = document.createElement('form');
        Object.assign(form, { method: 'post', action: origin + path, target: frame.name, enctype });
        const field = document.createElement('input');
        Object.assign(field, { name: begin, value: '"}' });
        form.append(field);
        document.body.append(form);
        const loaded = new Promise((resolve) => {
          frame.addEventListener('load', resolve);
        });
        form.submit();
        return loaded;
      }),
    );
  },

  /** Tries every kind of request that a page can send to another site. */
  async sendEverything({ origin, paths }) {
    const body = '{"payload":{"forged":true}}';
    // A page cannot read the answers, but the requests arrive.
    const send = (path, request) => fetch(origin + path, request).catch(() => null);
    for (const path of paths) {
      for (const credentials of ['omit', 'include']) {
        await send(path, { method: 'POST', mode: 'no-cors', credentials });
        await send(path, { method: 'POST', mode: 'no-cors', credentials, body });
      }
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
        await send(path, { method, headers: { 'Content-Type': 'application/json' }, body });
      }
      navigator.sendBeacon(origin + path, body);
    }
    await send('/queues/default', { method: 'DELETE' });
  },

  /** Returns how each path could be read. */
  async readEverything({ origin, paths }) {
    const found = [];
    for (const path of paths) {
      for (const mode of ['cors', 'no-cors']) {
        const text = await fetch(origin + path, { mode, credentials: 'include' }).then(
          (response) => response.text(),
          () => '',
        );
        if (text !== '') found.push(`${path} by fetch in mode ${mode}`);
      }
      for (const kind of ['script', 'img']) {
        const element = document.createElement(kind);
        const loaded = await new Promise((resolve) => {
          element.addEventListener('load', () => resolve(true));
          element.addEventListener('error', () => resolve(false));
          element.src = origin + path;
          document.body.append(element);
        });
        if (loaded) found.push(`${path} as ${kind}`);
      }
    }
    return found;
  },

  /** Sends one body in every way in which a page can send it to another site. */
  async sendBody({ origin, path, body }) {
    const send = (request) => fetch(origin + path, { ...request, body }).catch(() => null);
    for (const type of ['text/plain', 'application/json', 'application/x-www-form-urlencoded']) {
      for (const mode of ['no-cors', 'cors']) {
        for (const credentials of ['omit', 'include']) {
          // In the mode `no-cors`, the browser refuses other types.
          await send({ method: 'POST', mode, credentials, headers: { 'Content-Type': type } });
        }
      }
    }
    navigator.sendBeacon(origin + path, new Blob([body], { type: 'text/plain' }));
    for (const method of ['PUT', 'DELETE', 'PATCH']) await send({ method, credentials: 'include' });
  },

  /** Leaves this page with a form, as if the visitor had followed a link that sends something. */
  leaveWithForm({ url }) {
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', action: url, enctype: 'text/plain' });
    document.body.append(form);
    form.submit();
  },

  async openFrame({ url }) {
    await new Promise((resolve) => {
      const frame = document.createElement('iframe');
      frame.addEventListener('load', resolve);
      frame.src = url;
      document.body.append(frame);
    });
  },

  /**
   * Sends requests to the server of the page itself. Returns method and path, status and text of each answer.
   * @param key headers with a key. A page may send any text as a secret to its own origin
   */
  async askOwnServer({ requests, key = { Authorization: 'Bearer x' } }) {
    return Promise.all(
      requests.map(async ([method, path, body = '{"payload":{"forged":true}}']) => {
        const headers = { 'Content-Type': 'application/json', ...key };
        const content = method === 'POST' ? { body } : {};
        const response = await fetch(path, { method, headers, ...content });
        return [`${method} ${path}`, response.status, await response.text()];
      }),
    );
  },
};

globalThis.attack = attack;
