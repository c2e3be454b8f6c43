// A connection on which the server says what is new. It is there while the page is seen: a browser
// makes six to one server, for all of its tabs, and pages that nobody looks at need none. One that
// stands still, as after a sleep of the machine, is given up for another.

const PATIENCE_MS = 1000;
const PATIENCE_MS_MAX = 60000;
// Until the server said how often it says that it is there.
const SILENCE_MS = 60000;

// address: a function, asked each time. on: live, waiting, ended (why), message, finished.
function hear(address, on) {
  let source = null;
  let silence = SILENCE_MS;
  let patience = PATIENCE_MS;
  let watchdog = 0;
  let again = 0;
  let isOver = false;

  function end() {
    source?.close();
    source = null;
    clearTimeout(watchdog);
    clearTimeout(again);
  }

  // It is asked again, less and less often.
  function later(why) {
    end();
    on.ended(why);
    again = setTimeout(begin, patience);
    patience = Math.min(patience * 2, PATIENCE_MS_MAX);
  }

  function heard() {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      on.waiting();
      end();
      begin();
    }, silence);
  }

  function begin() {
    if (source || isOver || document.hidden) return;
    clearTimeout(again);
    const own = new EventSource(address());
    source = own;
    heard();
    own.addEventListener("open", () => {
      heard();
      on.live();
    });
    own.addEventListener("message", (event) => {
      patience = PATIENCE_MS;
      heard();
      on.message(event);
    });
    own.addEventListener("ping", (event) => {
      silence = 3000 * Number(event.data) || SILENCE_MS;
      heard();
    });
    own.addEventListener("problem", (event) => later(JSON.parse(event.data)));
    own.addEventListener("finished", () => {
      isOver = true;
      end();
      on.finished();
    });
    own.addEventListener("error", () => {
      if (own.readyState === EventSource.CLOSED) later("The server does not say what is new");
      // At the end of a connection the browser makes another: that is nothing to be told.
      else setTimeout(() => own === source && own.readyState === EventSource.CONNECTING && on.waiting(), 1500);
    });
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? end() : begin()));
  // A page that is kept while another is looked at, and come back to.
  addEventListener("pagehide", end);
  addEventListener("pageshow", begin);
  begin();
}
