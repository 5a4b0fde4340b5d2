/* What a request must show before it is looked at: pure checks, any thread. */
#ifndef NODE_ADMIN_GUARD_H
#define NODE_ADMIN_GUARD_H

#include "base/span.h"

#include <stdint.h>

/* Takes as long whatever the bytes are; only the length given by the client shows in the time. */
bool guard_token_equal(struct span given, struct span token);

/* The token of "Bearer TOKEN", or false. */
bool guard_bearer(struct span authorization, struct span *token);

/* Against DNS rebinding: a page whose name was pointed at 127.0.0.1 sends its own name in Host. Accepted are
 * localhost, 127.0.0.1 and [::1], the listener's address, and the configured names, with our port or none. */
struct guard_hosts {
    struct span address; /* as in a URL: "127.0.0.1" or "[::1]" */
    uint16_t port;
    char **names;
    size_t nnames;
};
bool guard_host_ok(const struct guard_hosts *hosts, struct span host);

/* A browser says where a request comes from: only a page of ours may, and there is none of another origin. */
bool guard_origin_ok(struct span origin, struct span host, bool tls);

/* application/json, perhaps with charset=utf-8: what a plain HTML form cannot send. */
bool guard_json_type(struct span type);

#endif
