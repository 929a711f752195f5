<?php
/*
Plugin Name: Acme
Description: What every site at Acme has.
*/

// Servers send no mail of their own: it is noted for the post room to collect.
function wp_mail($to, $subject, $message, $headers = '', $attachments = [])
{
    $line = json_encode(['at' => gmdate('c'), 'to' => $to, 'subject' => $subject]);
    return file_put_contents('/var/log/acme/mail.log', $line . "\n", FILE_APPEND | LOCK_EX) !== false;
}

add_filter('xmlrpc_enabled', '__return_false');
