<?php
// What is due in WordPress, run by cron instead of by visitors.
$_SERVER['HTTP_HOST'] = 'acme.test';
$_SERVER['SERVER_NAME'] = 'acme.test';
require '/usr/share/wordpress/wp-cron.php';
