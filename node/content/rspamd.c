/* rspamd's HTTP protocol: see rspamd.h. */
#include "node/content/rspamd.h"

#include "base/err.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCORE_MAX 99999.0
#define SYMBOLS_TOLD 6
#define SYMBOL_MAX 40

/* ---- what it is told ----------------------------------------------------------------------------------- */

/* What would end the line, or the request, becomes a question mark. */
static void put_value(struct buf *out, const char *name, struct span value)
{
    size_t n = value.n < RSPAMD_VALUE_MAX ? value.n : RSPAMD_VALUE_MAX;
    if (n == 0)
        return;
    (void)buf_put_str(out, name);
    (void)buf_put_str(out, ": ");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        (void)buf_put_char(out, c < ' ' || c == 0x7f ? '?' : (char)c);
    }
    (void)buf_put_char(out, '\n');
}

int rspamd_put_about(struct buf *out, const struct rspamd_about *about)
{
    put_value(out, "From", about->mail_from.n > 0 ? about->mail_from : SPAN_LIT("<>"));
    for (uint32_t i = 0; i < about->nrcpts && i < RSPAMD_RCPTS_MAX; i++)
        put_value(out, "Rcpt", about->rcpts[i]);
    put_value(out, "IP", about->ip);
    put_value(out, "Helo", about->helo);
    put_value(out, "Hostname", about->client_name);
    put_value(out, "User", about->user);
    put_value(out, "Queue-Id", about->queue_id);
    return buf_err(out);
}

/* ---- what it answers ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum rspamd_action action;
} actions[] = {
    { "no action", RSPAMD_NO_ACTION },     { "greylist", RSPAMD_GREYLIST },
    { "add header", RSPAMD_ADD_HEADER },   { "rewrite subject", RSPAMD_ADD_HEADER },
    { "soft reject", RSPAMD_SOFT_REJECT }, { "reject", RSPAMD_REJECT },
    { "discard", RSPAMD_REJECT },
};

/* jansson goes as deep as an answer says; the stack does not. */
static bool too_deep(struct span json)
{
    unsigned depth = 0;
    bool text = false;
    for (size_t i = 0; i < json.n; i++) {
        char c = json.p[i];
        if (text && c == '\\')
            i++;
        else if (c == '"')
            text = !text;
        else if (!text && (c == '{' || c == '['))
            depth++;
        else if (!text && (c == '}' || c == ']') && depth > 0)
            depth--;
        if (depth > RSPAMD_DEPTH_MAX)
            return true;
    }
    return false;
}

static void copy_text(char *to, size_t cap, const char *from)
{
    size_t n = 0;
    for (; n + 1 < cap && from != NULL && from[n] != '\0'; n++)
        to[n] = from[n] < ' ' || from[n] > '~' ? '?' : from[n];
    to[n] = '\0';
}

static double number_of(const json_t *v)
{
    double d = json_is_number(v) ? json_number_value(v) : 0;
    return isnan(d) ? 0 : fmax(-SCORE_MAX, fmin(SCORE_MAX, d));
}

/* The heaviest ones against the message, heaviest first. */
static void copy_symbols(const json_t *symbols, struct rspamd_answer *out)
{
    struct {
        const char *name;
        double score;
    } top[SYMBOLS_TOLD + 1];
    size_t n = 0, len = 0;
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)symbols, name, v)
    {
        double score = number_of(json_object_get(v, "score"));
        size_t at = n;
        if (score <= 0)
            continue;
        for (; at > 0 && top[at - 1].score < score; at--)
            top[at] = top[at - 1];
        top[at].name = name;
        top[at].score = score;
        n += n < SYMBOLS_TOLD;
    }
    out->symbols[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        char one[SYMBOL_MAX];
        copy_text(one, sizeof one, top[i].name);
        if (len + strlen(one) + 2 > sizeof out->symbols)
            break;
        len +=
            (size_t)snprintf(out->symbols + len, sizeof out->symbols - len, "%s%s", len > 0 ? " " : "", one);
    }
}

static bool fill(const json_t *root, struct rspamd_answer *out)
{
    const char *name = json_string_value(json_object_get(root, "action"));
    const json_t *score = json_object_get(root, "score");
    if (name == NULL || name[0] == '\0' || !json_is_number(score))
        return false;
    out->action = RSPAMD_OTHER;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(name, actions[i].name) == 0)
            out->action = actions[i].action;
    copy_text(out->name, sizeof out->name, name);
    out->score = number_of(score);
    out->required = number_of(json_object_get(root, "required_score"));
    copy_symbols(json_object_get(root, "symbols"), out);
    copy_text(out->message, sizeof out->message,
              json_string_value(json_object_get(json_object_get(root, "messages"), "smtp_message")));
    return true;
}

int rspamd_answer_parse(struct span json, struct rspamd_answer *out)
{
    *out = (struct rspamd_answer){ .action = RSPAMD_NO_ACTION };
    if (json.n == 0 || json.n > RSPAMD_ANSWER_MAX || too_deep(json))
        return ERR_BAD;
    json_error_t e;
    json_t *root = json_loadb(json.p, json.n, 0, &e);
    bool ok = root != NULL && fill(root, out);
    json_decref(root);
    return ok ? 0 : ERR_BAD;
}
