-- Made by `clerk-gate recipe haproxy-lua`: asks the gate about a request, for HAProxy 2.6 and later.

local DOOR = "http://{{ door }}/auth/haproxy"
{%- if secret %}
-- What `[forward-auth] secret-file` holds, from the environment of HAProxy.
local SECRET = os.getenv("CLERK_GATE_SECRET")
{%- endif %}

-- What the gate says of a person, empty where it knows nothing.
local TOLD = {
    "cookie",
    "x-request-id",
{%- for header in identity.iter().chain(templates) %}
    "{{ header.0 }}",
{%- endfor %}
}

-- What is about one connection, or said by HAProxy itself.
local OWN = {}
for _, name in ipairs({
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "x-clerk-gate-secret", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-proto", "x-original-method", "x-original-uri", "x-original-host", "x-original-proto",
    "x-original-client",
}) do
    OWN[name] = true
end

-- HAProxy ends when a question has more lines than it holds itself (`tune.http.maxhdr`), and some are added.
local MOST_LINES = 80

local function lines(headers)
    local count = 0
    for _, values in pairs(headers) do
        for _ in pairs(values) do
            count = count + 1
        end
    end
    return count
end

local function question(txn)
    local headers = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not OWN[name] then
            local list = {}
            for at = 0, #values do
                list[#list + 1] = values[at]
            end
            headers[name] = list
        end
    end
    local hosts = {}
    for _, host in pairs(txn.http:req_get_headers()["host"] or {}) do
        hosts[#hosts + 1] = host
    end
    headers["x-original-method"] = { txn.f:method() }
    headers["x-original-uri"] = { txn.f:pathq() }
    headers["x-original-host"] = hosts
    headers["x-original-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-original-client"] = { txn.f:src() }
{%- if secret %}
    headers["x-clerk-gate-secret"] = { SECRET }
{%- endif %}
    return headers
end

local function refuse(txn, status, answer)
    local reply = txn:reply()
    reply:set_status(status)
    if answer then
        for name, values in pairs(answer.headers) do
            local numbered = string.match(name, "^x%-clerk%-gate%-set%-cookie%-%d$")
            if name ~= "connection" and name ~= "transfer-encoding" and name ~= "content-length" and name ~= "date" then
                for _, value in pairs(values) do
                    reply:add_header(numbered and "set-cookie" or name, value)
                end
            end
        end
        reply:set_body(answer.body or "")
    end
    txn:done(reply)
end

core.register_action("clerk-gate", { "http-req" }, function(txn)
    if lines(txn.http:req_get_headers()) > MOST_LINES then
        return refuse(txn, 431)
    end
    local client = core.httpclient()
    local asked, answer = pcall(client.get, client, { url = DOOR, headers = question(txn), timeout = 30000 })
    if not asked or not answer or not answer.status or answer.status == 0 then
        return refuse(txn, 503)
    end
    if answer.status < 200 or answer.status > 599 then
        return refuse(txn, 503)
    end
    if answer.status ~= 200 then
        return refuse(txn, answer.status, answer)
    end
    for _, name in ipairs(TOLD) do
        local values = answer.headers[name] or {}
        local value = values[0] or values[1] or ""
        if value == "" then
            txn.http:req_del_header(name)
        else
            txn.http:req_set_header(name, value)
        end
    end
    -- What does not fit is left out without a word.
    local written = txn.http:req_get_headers()
    for _, name in ipairs(TOLD) do
        local told = answer.headers[name] or {}
        local found = written[name] or {}
        if (found[0] or "") ~= (told[0] or told[1] or "") or found[1] then
            return refuse(txn, 503)
        end
    end
    for number = 1, 8 do
        local values = answer.headers["x-clerk-gate-set-cookie-" .. number]
        local cookie = values and (values[0] or values[1])
        if cookie then
            txn:set_var("txn.clerk_gate_set_cookie_" .. number, cookie)
        end
    end
    for _, name in ipairs({ "ratelimit", "ratelimit-policy" }) do
        local values = answer.headers[name]
        local value = values and (values[0] or values[1])
        if value then
            txn:set_var("txn.clerk_gate_" .. string.gsub(name, "%-", "_"), value)
        end
    end
    -- HAProxy goes on after an error in here: without this line the request is denied.
    txn:set_var("txn.clerk_gate_yes", true)
end)
