/* The parameters of a route, as a table, and the reader that checks a request against it: whatever reaches a
 * handler has a known name, the right type and a bounded length, and no control character. Any thread.
 */
#ifndef NODE_ADMIN_PARAMS_H
#define NODE_ADMIN_PARAMS_H

#include "node/admin/ops.h"

#include <jansson.h>

#define ADMIN_BODY_MAX 65536u
#define ADMIN_BODY_LARGE_MAX (2u * 1024 * 1024 + 65536u) /* a document of 1 MiB, escaped */

enum admin_type {
    ADMIN_TYPE_STRING,
    ADMIN_TYPE_SECRET,   /* a string that no error or log repeats; wiped with the arguments */
    ADMIN_TYPE_TEXT,     /* a document of several lines, at most max bytes; body only */
    ADMIN_TYPE_INT,      /* min..max */
    ADMIN_TYPE_BOOL,     /* in a query: true, false, 1, 0 */
    ADMIN_TYPE_CHOICE,   /* one of choices, "a|b|c" */
    ADMIN_TYPE_DURATION, /* "90", "5m", "4d"; becomes ms */
    ADMIN_TYPE_TIME,     /* RFC 3339, ms since 1970, or a duration: that long ago; becomes ms */
    ADMIN_TYPE_IDS,      /* array of queue ids; in a query: with commas */
    ADMIN_TYPE_STRINGS,  /* array of strings; body only */
    ADMIN_TYPE_OBJECTS,  /* array of at most max objects, read by the handler; body only */
};

struct admin_param {
    const char *name; /* NULL ends a table */
    enum admin_type type;
    bool required;
    int64_t min, max;
    const char *choices;
    const char *help;
};

/* A query as pairs. */
struct admin_pair {
    struct span name, value;
};

/* Both make a JSON object whose members are as the table says (durations and times as integers of ms, ids
 * upper case and sorted); ERR_BAD with the reason. Free with admin_args_free. */
int admin_args_query(const struct admin_param *table, const struct admin_pair *pairs, size_t n,
                     int64_t now_ms, json_t **out, struct admin_error *e);
/* An empty body is {}. */
int admin_args_body(const struct admin_param *table, struct span body, int64_t now_ms, json_t **out,
                    struct admin_error *e);
/* For an element of an ADMIN_TYPE_OBJECTS array; changes `object`'s members in place. */
int admin_args_check(const struct admin_param *table, json_t *object, int64_t now_ms, struct admin_error *e);
void admin_args_free(json_t *args);

/* NULL, the default, or false when not given. */
const char *admin_arg_str(const json_t *args, const char *name);
int64_t admin_arg_int(const json_t *args, const char *name, int64_t otherwise);
bool admin_arg_bool(const json_t *args, const char *name);

/* 1 to 32 letters and digits; upper case into `out`. */
#define ADMIN_ID_TEXT 33
bool admin_id_ok(struct span s, char out[ADMIN_ID_TEXT]);

/* "2026-11-21T21:03:57Z", with offset, fraction ignored, or a date alone (UTC). ERR_BAD. */
int admin_time_parse(struct span s, int64_t *ms);

#endif
