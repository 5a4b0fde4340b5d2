/* GET /v1/series: what this node, or all of them together, did in the last hour or day. Admin threads. */
#include "node/admin/member.h"
#include "node/admin/series.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>

static enum series_window window_of(const struct admin_call *c)
{
    const char *window = admin_arg_str(c->args, "window");
    return window != NULL && strcmp(window, "day") == 0 ? SERIES_DAY : SERIES_HOUR;
}

static int of_this_node(struct admin_call *c)
{
    struct series_slot slots[SERIES_SLOTS_MAX];
    struct json_out j;
    int64_t from_ms;
    enum series_window w = window_of(c);
    uint32_t n = series_read(c->series, w, clock_wall_ms(), slots, &from_ms);
    json_out_begin(&j, &c->out);
    json_out_i64(&j, "from_ms", from_ms);
    json_out_i64(&j, "step_ms", series_step_ms(w));
    for (uint32_t k = 0; k < SERIES_KINDS; k++) {
        json_out_open(&j, series_kind_name(k), '[');
        for (uint32_t i = 0; i < n; i++)
            if (slots[i].known)
                json_out_u64(&j, NULL, slots[i].v[k]);
            else
                json_out_null(&j, NULL);
        json_out_close(&j, ']');
    }
    return json_out_end(&j);
}

/* Adds another node's values to ours, place by place of the wall clock; null where nobody knows. */
static void add(json_t *sum, json_int_t from, json_int_t step, const json_t *values, json_int_t values_from)
{
    size_t i, n = json_array_size(sum);
    json_t *v;
    json_array_foreach(values, i, v)
    {
        json_int_t at = (values_from - from) / step + (json_int_t)i;
        if (at < 0 || at >= (json_int_t)n || !json_is_integer(v))
            continue;
        json_int_t was = json_integer_value(json_array_get(sum, (size_t)at));
        json_array_set_new(sum, (size_t)at, json_integer(was + json_integer_value(v)));
    }
}

static json_t *sums(const json_t *answers, json_int_t step, size_t n)
{
    json_int_t from = 0;
    json_t *all = json_object(), *answer;
    size_t i;
    json_array_foreach(answers, i, answer)
    {
        json_int_t its = json_integer_value(json_object_get(json_object_get(answer, "body"), "from_ms"));
        from = its > from ? its
                          : from; /* the latest: a clock that is behind must not cut off the others' last */
    }
    json_object_set_new(all, "from_ms", json_integer(from));
    json_object_set_new(all, "step_ms", json_integer(step));
    for (uint32_t k = 0; k < SERIES_KINDS; k++) {
        json_t *sum = json_array();
        while (json_array_size(sum) < n && json_array_append_new(sum, json_null()) == 0)
            ;
        json_array_foreach(answers, i, answer)
        {
            const json_t *body = json_object_get(answer, "body");
            if (json_integer_value(json_object_get(body, "step_ms")) == step)
                add(sum, from, step, json_object_get(body, series_kind_name(k)),
                    json_integer_value(json_object_get(body, "from_ms")));
        }
        json_object_set_new(all, series_kind_name(k), sum);
    }
    return all;
}

int admin_on_series(struct admin_call *c)
{
    struct series_slot slots[SERIES_SLOTS_MAX];
    json_t *answers = NULL, *missing = NULL;
    bool all;
    int64_t from_ms;
    if (c->series == NULL)
        return admin_missing(c);
    int err = member_asks_all(c, true, &all);
    if (err != 0 || !all)
        return err != 0 ? err : of_this_node(c);
    enum series_window w = window_of(c);
    err = member_ask(c, &answers, &missing);
    if (err == 0)
        err = member_reply(
            c, sums(answers, series_step_ms(w), series_read(c->series, w, clock_wall_ms(), slots, &from_ms)),
            missing);
    json_decref(answers);
    json_decref(missing);
    return err;
}
