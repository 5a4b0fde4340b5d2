/* Writes JSON text into a buffer, members in the order they are put. No parsing, no tree; one thread.
 *
 * Strings go through text_put_json: whatever bytes a peer chose, the output is valid JSON and valid UTF-8.
 * The buffer's error is sticky, so that one check at the end is enough.
 */
#ifndef NODE_ADMIN_JSON_OUT_H
#define NODE_ADMIN_JSON_OUT_H

#include "base/buf.h"
#include "base/span.h"

struct json_out {
    struct buf *buf;
    bool need_comma;
};

void json_out_init(struct json_out *j, struct buf *buf);
/* A line that is one object: its members are put between the two. The end gives the buffer's error. */
void json_out_begin(struct json_out *j, struct buf *buf);
int json_out_end(struct json_out *j);

/* `key` NULL inside an array or at the top. Keys are constants of ours: written as they are. */
void json_out_open(struct json_out *j, const char *key, char bracket);
void json_out_close(struct json_out *j, char bracket);
void json_out_span(struct json_out *j, const char *key, struct span s);
void json_out_str(struct json_out *j, const char *key, const char *s);
/* An empty span is null. */
void json_out_opt(struct json_out *j, const char *key, struct span s);
void json_out_u64(struct json_out *j, const char *key, uint64_t v);
void json_out_i64(struct json_out *j, const char *key, int64_t v);
/* 0 is null: for times that are not known. */
void json_out_time(struct json_out *j, const char *key, int64_t ms);
void json_out_real(struct json_out *j, const char *key, double v);
void json_out_bool(struct json_out *j, const char *key, bool v);
void json_out_null(struct json_out *j, const char *key);
/* `text` is JSON. */
void json_out_raw(struct json_out *j, const char *key, struct span text);
/* The parts of `list` as an array; a mark at its end ends the last part. */
void json_out_split(struct json_out *j, const char *key, struct span list, char mark);

#endif
