<?php
// Loads WordPress for a command: Debian's configuration asks for a host name.
$_SERVER['HTTP_HOST'] = 'acme.test';
$_SERVER['SERVER_NAME'] = 'acme.test';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
require '/usr/share/wordpress/wp-load.php';
