-- What a payer's open payments come to is known in memory; each step of a payment kept this up for nobody.
DROP INDEX payments_open_of_payer;
