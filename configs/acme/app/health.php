<?php
// Whether this web server can serve sites: PHP runs, the database answers, the site is installed.
// 200 or 503, with a reason that says nothing to strangers.

function answer(int $code, array $body): void
{
    http_response_code($code);
    header('Content-Type: application/json');
    header('Cache-Control: no-store');
    echo json_encode($body + ['server' => gethostname()]), "\n";
    exit;
}

$config = '/etc/wordpress/config-default.php';
if (!is_readable($config)) {
    answer(503, ['status' => 'failed', 'reason' => 'configuration']);
}
require $config;
mysqli_report(MYSQLI_REPORT_OFF);
$db = mysqli_init();
$db->options(MYSQLI_OPT_CONNECT_TIMEOUT, 3);
if (!@$db->real_connect(DB_HOST, DB_USER, DB_PASSWORD, DB_NAME)) {
    answer(503, ['status' => 'failed', 'reason' => 'database']);
}
$rows = $db->query("SELECT option_value FROM wp_options WHERE option_name = 'acme_version'");
if (!$rows || !($row = $rows->fetch_row())) {
    answer(503, ['status' => 'failed', 'reason' => 'site']);
}
answer(200, ['status' => 'ok', 'content' => $row[0]]);
