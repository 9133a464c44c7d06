-- Programs that work in one tenant (millpond::legacy) see their own tenant's row of the list, and a role of its own
-- reads the list where no tenant is chosen yet. Neither reaches the schema `control`. USAGE on `public` is given by
-- `central init`: the owner role does not own that schema.

GRANT SELECT ON public.tenants TO {{program}}, {{registry}};

-- The role that the statement runs as, not the one that it inherits from: one policy serves every tenant.
CREATE POLICY own_row ON public.tenants FOR SELECT TO {{program}}
    USING (current_user = 'tp_' || replace(id::text, '-', ''));
CREATE POLICY all_rows ON public.tenants FOR SELECT TO {{registry}} USING (true);
