/* Text made safe for logs and JSON, and small conversions. Any thread. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/buf.h"

/* Length of the valid UTF-8 sequence at p (1 to 4; no surrogates, no overlong form), or 0. n > 0. */
size_t text_utf8_len(const char *p, size_t n);
bool text_utf8_valid(struct span s);
bool text_ascii(struct span s);

/* Appends s as a JSON string with its quotes. Control characters, U+2028, U+2029 and U+0080 to U+009F are
 * escaped; a byte that is not UTF-8 becomes U+FFFD. */
int text_put_json(struct buf *b, struct span s);

/* Appends s for a log line: control characters and bytes that are not UTF-8 as \xNN, backslash doubled. */
int text_put_log(struct buf *b, struct span s);

/* "90", "30s", "5m", "1h", "4d", "2w", "250ms" -> ms. A bare number is seconds. ERR_BAD if it is no duration or
 * overflows. */
int text_duration_ms(struct span s, int64_t *ms);
/* "64", "64k", "25M", "2G" (powers of 1024; an "iB" or "B" may follow) -> bytes; ERR_BAD likewise. */
int text_size_bytes(struct span s, uint64_t *bytes);
/* The shortest of "250ms", "90s", "1h30m", "4d2h"; buffer of at least 32. */
void text_format_duration(int64_t ms, char *out, size_t cap);

/* Exact, so that text_duration_ms reads the same from it: "90m", "1500ms", "0". Returns out. */
const char *text_exact_duration(int64_t ms, char out[32]);

/* 0 to 15, or -1; letters in either case. */
int text_hex_value(char c);
/* Unsigned decimal, whole span, no sign or blanks; ERR_BAD. */
int text_u64(struct span s, uint64_t *v);
/* "host:port", "192.0.2.1:7301" or "[2001:db8::1]:7301"; the host is part of s, without its brackets.
 * ERR_BAD: no host, one with a colon outside brackets, or no port from 1 to 65535. Whether the host is a name or
 * an address is not looked at. */
int text_host_port(struct span s, struct span *host, uint16_t *port);

#endif
